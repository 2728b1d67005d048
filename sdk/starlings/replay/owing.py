"""What one run has owed so far, so that what was published can be held against it.

A decision is noted with its message when the core makes it: that is when a coordinator builds it.
It stays noted, for it may lawfully be published late, and more than once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from starlings.choreography import (
    ELSEWHERE,
    Decision,
    DecisionKind,
    Position,
    Run,
    Timer,
    TimerKey,
    confirmation_for,
    message_for,
)
from starlings.messages import Message, RunDone, StepScheduled

from .comparing import Mismatch, mismatch
from .findings import Difference

DUES_KEPT = 256  # of one timer: each sign of life of a step sets it anew


class Owed:
    """A decision, and what `events` is to hold of it.

    That a step is released is confirmed by what is known then, and only where the step has not
    begun by itself: so its message is made when it is asked for.
    """

    __slots__ = ("_message", "_released", "decision", "place", "published")

    def __init__(self, run: Run, place: Position, decision: Decision) -> None:
        self.decision = decision
        self.place = place
        self.published = False
        self._message: Message | None = None
        self._released: tuple[str, str, str | None] | None = None
        if decision.kind is DecisionKind.RELEASE:
            step = run.steps[decision.step_id or ""]
            self._released = (run.run_id, step.spec.agent, step.variant)
        else:
            self._message = on_events(run, decision)

    @property
    def message(self) -> Message:
        """What it says on `events`."""
        if self._message is None and self._released is not None:
            run_id, agent, variant = self._released
            step_id, attempt = self.decision.step_id or "", self.decision.attempt
            self._message = StepScheduled.trusted(
                run_id=run_id, step_id=step_id, attempt=attempt, agent=agent, variant=variant
            )
        assert self._message is not None  # noqa: S101 - one of the two is there
        return self._message


@dataclass(slots=True)
class Owing:
    """All that one run has decided, as far as the reader knows."""

    run_id: str
    begun: int  # offset from which it is known
    is_whole: bool  # known from its plan on, not from a snapshot
    decided: dict[str, Owed] = field(default_factory=dict)
    dues: dict[TimerKey, deque[int]] = field(default_factory=dict)
    before: set[str] = field(default_factory=set)  # ids that were read before it was known
    left: list[Owed] = field(default_factory=list)  # owed on `events` still when the run ended
    doubt: str = ""  # why a difference may be the reader's own
    difference: Difference | None = None

    def note(self, run: Run, place: Position, decisions: Iterable[Decision]) -> None:
        """Note what was decided, with its message as it would be published now."""
        for decision in decisions:
            self.decided[decision.id] = Owed(run, place, decision)

    def set_timers(self, timers: Iterable[Timer]) -> None:
        """Note when timers fall due."""
        for timer in timers:
            self.dues.setdefault(timer.key, deque(maxlen=DUES_KEPT)).append(timer.due_ms)

    def was_set(self, key: TimerKey, due_ms: int) -> bool:
        """Tell whether a timer was ever set to fire then."""
        dues = self.dues.get(key)
        if dues is None:
            return False
        return due_ms in dues or (len(dues) == DUES_KEPT and due_ms < dues[0])

    def end(self, run: Run) -> None:
        """Keep what is owed on `events` at the end of a run: it may come after that."""
        kept = (self.decided.get(ident) for ident, d in run.owed.items() if d.kind not in ELSEWHERE)
        self.left += [o for o in kept if o is not None and o.decision.kind is not DecisionKind.END]


def on_events(run: Run, decision: Decision) -> Message:
    """Build what a decision puts on `events`: itself, or its confirmation."""
    confirmation = confirmation_for(run, decision)
    return message_for(run, decision) if confirmation is None else confirmation.message


def content_mismatch(recorded: Message, owed: Owed, run: Run | None) -> Mismatch | None:
    """Compare a record with what was owed when it was decided, and with what would be said now.

    A coordinator that restarts in between builds the message from the state that it finds.
    """
    found = mismatch(recorded, owed.message)
    if found is None or (isinstance(recorded, RunDone) and _is_bare(recorded, owed.message)):
        return None
    try:
        now = on_events(run, owed.decision) if run is not None else owed.message
    except Exception:  # the state has moved on so far that there is nothing to say any more
        return found
    return found if mismatch(recorded, now) is not None else None


def _is_bare(recorded: RunDone, expected: Message) -> bool:
    """Tell whether an end leaves its outputs out, as one does that was too large for Kafka."""
    if not isinstance(expected, RunDone) or recorded.text or recorded.output is not None:
        return False
    if recorded.error is None or any(s.output is not None or s.summary for s in recorded.steps):
        return False
    return mismatch(recorded, _without_outputs(expected, recorded)) is None


def _without_outputs(end: RunDone, recorded: RunDone) -> RunDone:
    steps = [step.model_copy(update={"output": None, "summary": None}) for step in end.steps]
    error = end.error or recorded.error
    return end.model_copy(update={"output": None, "text": "", "steps": steps, "error": error})
