"""What a run in this process asks is put to the terminal, a real one, line by line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from support.runs import ok
from support.waiting import wait_until

from starlings.cli.asking import TerminalAnswers
from starlings.messages import (
    Approval,
    ApprovalGiven,
    ApprovalRequested,
    Message,
    SignalReceived,
    StepProgress,
)

APPROVAL = ApprovalRequested(
    run_id="r", step_id="ok", attempt=1, approval=Approval(question="Shall it?")
)


def form(step_id: str = "form", **more: object) -> StepProgress:
    said = {"asks": "How many?", "fields": {"amount": "integer", "note": "string"}, **more}
    return StepProgress(
        run_id="r",
        step_id=step_id,
        attempt=1,
        agent="human",
        progress={"phase": "waiting", "progress": said},
    )


class Person:
    """Somebody at a terminal, and what the run is told."""

    def __init__(self, keyboard: int) -> None:
        self._keyboard = keyboard
        self.told: list[Message] = []
        self.answers = TerminalAnswers(self.told.append)

    async def types(self, *lines: str) -> Message:
        """Type lines, and wait for the answer that they make."""
        before = len(self.told)
        for line in lines:
            os.write(self._keyboard, f"{line}\n".encode())
        await wait_until(lambda: len(self.told) > before, timeout_s=20, message="an answer")
        return self.told[-1]


@pytest.fixture
def person(monkeypatch) -> Iterator[Person]:
    keyboard, screen = os.openpty()
    with os.fdopen(screen) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        yield Person(keyboard)
    os.close(keyboard)


async def test_a_form_is_asked_field_by_field_and_its_answer_has_their_types(person, capsys):
    person.answers.look(form())
    answer = await person.types("4", "")
    assert isinstance(answer, SignalReceived)
    assert (answer.name, answer.payload) == ("answer.form", {"amount": 4})
    person.answers.look(form(problems=["amount: it has to be 9 or more"], refused=1))
    assert (await person.types("9", "so be it")).payload == {"amount": 9, "note": "so be it"}
    said = capsys.readouterr().err
    assert "step form asks: How many?" in said
    assert "amount (integer)" in said
    assert "that does not fit: amount: it has to be 9 or more" in said
    person.answers.close()


async def test_questions_wait_for_each_other_and_one_whose_step_has_ended_is_dropped(
    person, capsys
):
    person.answers.look(form("first"))
    person.answers.look(form("second"))
    person.answers.look(APPROVAL)
    person.answers.look(ok("first", {"answer": {}}))
    person.answers.look(ok("other"))
    assert (await person.types("1", "")).name == "answer.second"
    answer = await person.types("perhaps", "yes for now")
    assert isinstance(answer, ApprovalGiven)
    assert (answer.approved, answer.comment) == (True, "for now")
    assert capsys.readouterr().err.count("asks:") == 3
    person.answers.close()


async def test_without_a_terminal_a_form_is_left_to_its_time(monkeypatch, capsys, tmp_path):
    (tmp_path / "nothing").touch()
    with (tmp_path / "nothing").open() as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        answers = TerminalAnswers(lambda _fact: None)
        answers.look(form())
        answers.look(form(problems=["no"]))
    assert capsys.readouterr().err.count("its time limit decides") == 1


def test_a_run_in_this_process_asks_its_form_at_the_terminal(tmp_path):
    asked = {"question": "How many?", "fields": {"amount": {"type": "integer", "minimum": 2}}}
    plan = [{"id": "ask", "agent": "human", "input": asked}]
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    keyboard, screen = os.openpty()
    env = {n: v for n, v in os.environ.items() if not n.startswith(("STARLINGS_", "KAFKA_"))}
    argv = ["run", "--local", "--plan", "plan.json", "--json", "--wait", "60s"]
    running = subprocess.Popen(
        [sys.executable, "-m", "starlings.cli", *argv],
        stdin=screen,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        env=env,
        text=True,
    )
    with running:
        said = ""
        for typed in (b"1\n", b"3\n"):
            while running.stderr and (line := running.stderr.readline()):
                said += line
                if "amount (integer)" in line:
                    break
            os.write(keyboard, typed)
        output, rest = running.communicate(timeout=90)
    os.close(keyboard)
    os.close(screen)
    assert running.returncode == 0, said + rest
    assert json.loads(output)["output"]["answer"] == {"amount": 3}
    assert "that does not fit: amount: it has to be 2 or more" in said
