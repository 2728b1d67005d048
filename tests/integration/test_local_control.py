"""Words to a run in this process, from a program and from the terminal."""

from __future__ import annotations

from pathlib import Path

from support.terminal import Terminal

from starlings import Agent, LocalRun
from starlings.messages import (
    ApprovalGiven,
    ApprovalRequested,
    PauseRequested,
    ResumeRequested,
    RunOutcome,
    SignalReceived,
    StepDone,
)

EXAMPLE = Path(__file__).parents[2] / "examples" / "approval.yaml"

echo = Agent("echo", description="Says what it is told")


@echo.step
def say(task: str) -> str:
    return task


ASKS = {"id": "ok", "approval": {"question": "Well?", "timeout_s": 60}}
SAYS = {"id": "b", "agent": "echo", "task": "fine", "depends_on": ["ok"]}


def answering(*answers):
    """Run a plan with a question; answer it as soon as it is asked."""

    def on_fact(fact):
        if isinstance(fact, ApprovalRequested):
            for approved in answers:
                run.tell(ApprovalGiven(run_id="local", step_id="ok", approved=approved))

    run = LocalRun([ASKS, SAYS], [echo], on_fact=on_fact)
    return run


async def test_a_yes_lets_the_run_go_on_and_a_no_after_it_changes_nothing():
    done = await answering(True, False)
    assert (done.outcome, done.steps[1].state) == (RunOutcome.COMPLETED, "done")


async def test_a_no_fails_the_step():
    done = await answering(False)
    assert (done.outcome, done.error.message) == (
        RunOutcome.FAILED,
        "step 'ok' failed: rejected",
    )


async def test_the_clock_jumps_to_the_default_where_nobody_answers():
    done = await LocalRun([ASKS, SAYS], [echo], skip_waits=True)
    assert done.steps[0].error.code == "approval_timeout"


async def test_a_signal_is_kept_for_its_step():
    waits = {"id": "paid", "signal": {"name": "payment"}, "depends_on": ["a"]}
    run = LocalRun([{"id": "a", "agent": "echo", "task": "x"}, waits], [echo])
    run.tell(SignalReceived(run_id="local", name="payment", payload=7))
    assert (await run).output == 7


async def test_a_paused_run_releases_nothing_until_it_is_resumed():
    order = []

    def on_fact(fact):
        order.append(fact.NAME)
        if isinstance(fact, StepDone) and fact.step_id == "a":
            run.tell(ResumeRequested(run_id="local"))

    steps = [
        {"id": "a", "agent": "echo", "task": "x"},
        {"id": "b", "agent": "echo", "task": "y", "depends_on": ["a"]},
    ]
    run = LocalRun(steps, [echo], on_fact=on_fact)
    run.tell(PauseRequested(run_id="local"))
    assert (await run).outcome is RunOutcome.COMPLETED
    released = [i for i, name in enumerate(order) if name == "step_scheduled"]
    assert released[0] < order.index("resume_requested") < released[1]


def at_a_terminal(*typed: tuple[str, str]) -> tuple[int, str]:
    """Run the example on a terminal of its own; when it says the one, type the other."""
    terminal = Terminal("run", "--local", "--plan", str(EXAMPLE))
    try:
        for asked, line in typed:
            terminal.until(asked)
            terminal.type(line)
        return terminal.end(), terminal.said
    finally:
        terminal.close()


def test_the_terminal_asks_what_a_local_run_asks():
    code, shown = at_a_terminal(
        ("Type yes or no", "perhaps"), ("neither yes nor no", "yes looks right")
    )
    assert code == 0, shown
    assert "36 APPLES ARE ORDERED: LOOKS RIGHT" in shown


def test_a_no_at_the_terminal_ends_the_run():
    code, shown = at_a_terminal(("Type yes or no", "no too many"))
    assert code == 1, shown
    assert "too many" in shown
