"""One fact being folded, and the names of what it can lead to."""

from __future__ import annotations

from starlings.messages.errors import ErrorInfo
from starlings.messages.facts import TimerKind
from starlings.messages.ids import generation_id

from .state import NOTHING_MORE, Change, Decision, DecisionKind, Run, StepState, Timer, TimerKey
from .transitions import Phase

LONGEST_S = 100 * 365 * 86_400.0  # no timer runs longer, so that every due time is a sane number

DEADLINE_EXCEEDED = ErrorInfo(
    code="deadline_exceeded",
    message="the run was not done by its deadline, or within its timeout_s; give it more time",
)


class Folding:
    """One fact being folded: collects what it newly requires."""

    __slots__ = ("at_ms", "decisions", "run", "timers")

    def __init__(self, run: Run, at_ms: int) -> None:
        self.run = run
        self.at_ms = at_ms
        self.decisions: list[Decision] = []
        self.timers: list[Timer] = []

    def change(self) -> Change:
        """Say what is newly required."""
        if not self.decisions and not self.timers:
            return NOTHING_MORE
        return Change(tuple(self.decisions), tuple(self.timers))

    def decide(self, decision: Decision) -> None:
        """Owe a decision from now on."""
        self.run.owed[decision.id] = decision
        self.decisions.append(decision)

    def arm(self, key: TimerKey, after_s: float | None) -> None:
        """Set a timer, or set it anew; None sets none."""
        if after_s is None:
            return
        due_ms = self.at_ms + int(min(after_s, LONGEST_S) * 1000)
        self.run.timers[key] = due_ms
        self.timers.append(Timer(key, due_ms))

    def arm_step(self, kind: TimerKind, step: StepState, after_s: float | None) -> None:
        """Set a timer of a step's current attempt; None sets none, as mostly."""
        if after_s is not None:
            self.arm(TimerKey(kind, step.spec.id, step.attempt), after_s)

    def disarm(self, step: StepState) -> None:
        """Take away the timers of a step's current attempt."""
        timers = self.run.timers
        if timers:
            for kind in _ARMED_WHILE.get(step.phase, ()):
                timers.pop(TimerKey(kind, step.spec.id, step.attempt), None)


_ARMED_WHILE = {
    Phase.RELEASED: (TimerKind.QUEUE,),
    Phase.RUNNING: (TimerKind.RUN, TimerKind.HEARTBEAT),
    Phase.BACKOFF: (TimerKind.RETRY,),
    Phase.ASKING: (TimerKind.WAIT,),
}


def skip_id(run: Run, step_id: str) -> str:
    """Id of the decision that a step will not run."""
    step = run.steps.get(step_id)
    name = f"{step_id}/{DecisionKind.SKIP.value}"
    if step is not None and step.rewound_by:  # it may have been skipped before
        name += f"/replan{step.rewound_by}"
    return generation_id(run.run_id, name, run.generation)


def whole_run_id(run: Run, kind: DecisionKind) -> str:
    """Id of a decision about the whole run, that comes once for each time it was opened."""
    return generation_id(run.run_id, kind.value, run.generation)
