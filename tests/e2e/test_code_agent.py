"""The agent `code` as a service: programs of a plan run, and a hostile one ends its run in time."""

from __future__ import annotations

import pytest
from support.model_server import model_server

from starlings.messages import RunOutcome

pytestmark = pytest.mark.kafka


async def test_a_model_writes_a_program_for_a_step_in_words(system):
    with model_server() as model:
        model.replies('{"code": "missing", "cannot": null}', '{"code": "6 * 7", "cannot": null}')
        (code,) = system.start("code", env={"OPENAI_BASE_URL": model.base_url})
        system.start("coordinator", "planner")
        async with system.client() as client:
            run = await client.submit(
                plan=[{"id": "s", "agent": "code", "task": "What do you get if you multiply?"}]
            )
            done = await run.result(timeout_s=60)
        system.stop(code)
    assert (done.outcome, done.output["result"]) == (RunOutcome.COMPLETED, 42)
    assert len(model.requests) == 2


async def test_programs_of_a_plan_run_in_the_sandbox(system):
    system.start("code", env={"STARLINGS_CODE_SECONDS": "2"})
    sums = {"code": "print('hi')\n[n * n for n in range(4)]"}
    more = {"code": "sum(results['squares']['result']) + k", "inputs": {"k": 28}}
    async with system.client() as client:
        good = await client.submit(
            plan=[
                {"id": "squares", "agent": "code", "input": sums},
                {"id": "total", "agent": "code", "input": more, "depends_on": ["squares"]},
            ]
        )
        bad = await client.submit(
            plan=[{"id": "loop", "agent": "code", "input": {"code": "while True:\n    pass"}}]
        )
        done = await good.result(timeout_s=60)
        failed = await bad.result(timeout_s=60)

    assert (done.outcome, done.output["result"]) == (RunOutcome.COMPLETED, 42)
    assert failed.outcome is RunOutcome.FAILED
    assert "time limit" in failed.text
