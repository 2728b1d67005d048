"""Forms on Kafka: asked by a plan, answered from the command line, taken over after a crash."""

from __future__ import annotations

import asyncio
import contextlib
import json

import pytest

from starlings.client import AnswerInvalid, CommandRefused
from starlings.messages import RunOutcome, StepProgress

pytestmark = pytest.mark.kafka

FORM = {"question": "How many?", "fields": {"amount": {"type": "integer", "minimum": 1}}}
PLAN = [
    {"id": "ask", "agent": "human", "input": FORM, "timeouts": {"run_s": 3600}},
    {"id": "more", "agent": "math", "tool": "add", "depends_on": ["ask"],
     "args": {"a": "{{steps.ask.output.answer.amount}}", "b": 1}},
]  # fmt: skip


async def asked(run) -> None:
    async with asyncio.timeout(60), contextlib.aclosing(run.facts()) as facts:
        async for fact in facts:
            if isinstance(fact, StepProgress) and "asks" in str(fact.progress):
                return


async def test_a_form_is_answered_by_a_person(system, starlings):
    system.start("coordinator", "planner", "math")
    (human,) = system.start("human")
    async with system.client() as client:
        run = await client.submit(plan=PLAN, run_id="form-1")
        await asked(run)
        wide = {"COLUMNS": "200"}  # a narrow table breaks what it says into lines
        shown = " ".join((await starlings("show", "form-1", env=wide)).stdout.split())
        assert "How many? · starlings answer form-1 ask --field amount=…" in shown
        listed = await starlings("runs", "--status", "asking", "--json")
        assert [line["run_id"] for line in json.loads(listed.stdout)] == ["form-1"]
        with pytest.raises(AnswerInvalid, match="amount: it has to be 1 or more"):
            await run.answer("ask", {"amount": 0})
        with pytest.raises(AnswerInvalid, match="no form"):
            await run.answer("more", {"amount": 1})

        system.kill(human)  # whoever comes next knows where to read on
        system.start("human")
        done = await starlings("answer", "form-1", "ask", "--field", "amount=4", "--by", "ada")
        assert (done.code, "filled in by ada" in done.stdout) == (0, True), done.stderr
        ended = await run.result(timeout_s=60)
        assert (ended.outcome, ended.output) == (RunOutcome.COMPLETED, 5)

        with pytest.raises(CommandRefused, match="has been answered by ada already"):
            await run.answer("ask", {"amount": 1})
        wrong = await starlings("answer", "form-1", "ask", "--field", "size=4")
        assert wrong.code == 2
        assert "no such field" in wrong.stderr
