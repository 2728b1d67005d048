"""A run as a waterfall: when each step waited and worked, and what the run's length is made of.

Pure. The critical path is followed from the run's end to its beginning: what ended last, what made
that ready, and so on; so its parts lie end to end and add up to the whole run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from starlings.kafka.codec import Received

from .activities import Activities, Activity, Doing


class Part(StrEnum):
    """What time was spent on."""

    PLANNING = "planning"
    QUEUE = "queue"  # from the fact that made it ready to the agent's beginning
    RUNNING = "running"
    BACKOFF = "back-off"
    HELD = "held"  # ready but for a free place, a pause, an amendment; or a run that settles
    ASKING = "asking"  # for a person's word, or a signal
    UNDO_QUEUE = "undo queue"
    UNDOING = "undoing"


@dataclass(frozen=True, slots=True)
class Bar:
    """One stretch of time of one step."""

    part: Part
    begin_ms: int
    end_ms: int
    attempt: int = 0
    outcome: str = ""
    is_critical: bool = False

    @property
    def length_ms(self) -> int:
        """How long it took."""
        return self.end_ms - self.begin_ms


@dataclass(frozen=True, slots=True)
class Lane:
    """One step with its bars in the order of time."""

    step_id: str
    agent: str
    bars: list[Bar]
    attempts: int

    @property
    def is_critical(self) -> bool:
        """Whether the run would have been over sooner, had this step been faster."""
        return any(bar.is_critical for bar in self.bars)

    @property
    def outcome(self) -> str:
        """How its last attempt ended; empty where it has not."""
        return next((bar.outcome for bar in reversed(self.bars) if bar.outcome), "")


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of the critical path."""

    step_id: str
    bar: Bar


@dataclass(frozen=True, slots=True)
class Timeline:
    """A run from its plan (or its request, where that was read) to its end, or as far as it is."""

    run_id: str
    begin_ms: int
    end_ms: int
    has_ended: bool
    lanes: list[Lane]
    path: list[Stretch]

    @property
    def length_ms(self) -> int:
        """How long it took."""
        return self.end_ms - self.begin_ms

    def shares(self) -> dict[Part, int]:
        """Sum the critical path up: milliseconds by part, the largest first."""
        sums: Counter[Part] = Counter()
        for stretch in self.path:
            sums[stretch.bar.part] += stretch.bar.length_ms
        return dict(sums.most_common())


def timeline(run_id: str, facts: Iterable[Received]) -> Timeline | None:
    """Lay a run out by its facts, in their order; None where they tell of no plan.

    The run's `run_requested` may be among them, for the time that planning took.
    """
    activities = Activities(run_id)
    for received in facts:
        activities.add(received)
    return timeline_of(activities)


def timeline_of(activities: Activities) -> Timeline | None:
    """Lay a run out by its activities."""
    run, last_ms = activities.view.run, activities.last_ms
    if run is None or last_ms is None:
        return None
    planned_ms = activities.planned_ms if activities.planned_ms is not None else run.began_ms
    planned_ms = min([planned_ms, *(each.ready_ms for each in activities.all)])
    asked_ms = activities.requested_ms
    begin_ms = planned_ms if asked_ms is None else min(asked_ms, planned_ms)
    end_ms = max(last_ms, begin_ms)
    path = list(_path(activities, begin_ms, planned_ms, end_ms))
    path.reverse()
    lanes = list(_lanes(activities, {id(each) for each in _chain(activities)}, end_ms))
    if begin_ms < planned_ms:
        bar = Bar(Part.PLANNING, begin_ms, planned_ms, is_critical=True)
        lanes.insert(0, Lane("", "planner", [bar], 0))
    return Timeline(
        activities.view.run_id, begin_ms, end_ms, activities.done is not None, lanes, path
    )


# -- lanes -----------------------------------------------------------------------------------------


def _lanes(activities: Activities, critical: set[int], end_ms: int) -> Iterator[Lane]:
    by_step: dict[str, list[Activity]] = {}
    for each in activities.all:
        by_step.setdefault(each.step_id, []).append(each)
    run = activities.view.run
    for step in run.order if run is not None else ():
        done = by_step.get(step.spec.id)
        if not done:
            continue
        bars: list[Bar] = []
        for each in done:
            before = each.after
            paused = before is not None and before.step_id == each.step_id
            if paused and before is not None and (before.ended_ms or end_ms) < each.ready_ms:
                on_path = id(each) in critical
                bars.append(_gap(before, each.ready_ms, each, is_critical=on_path))
            bars += _bars(each, end_ms, is_critical=id(each) in critical)
        tries = max(each.attempt for each in done)
        yield Lane(step.spec.id, step.spec.agent, bars, tries)


def _bars(each: Activity, end_ms: int, *, is_critical: bool) -> Iterator[Bar]:
    """Divide an activity into waiting for its agent, and its work."""
    ended = min(each.ended_ms if each.ended_ms is not None else end_ms, end_ms)
    ended = max(ended, each.ready_ms)
    waiting, working = _PARTS[each.doing]
    begun = ended if each.begun_ms is None else min(each.begun_ms, ended)
    if waiting is None:
        begun = each.ready_ms
    elif begun > each.ready_ms or each.begun_ms is None:
        outcome = each.outcome if each.begun_ms is None else ""
        yield Bar(waiting, each.ready_ms, begun, each.attempt, outcome, is_critical)
    if each.begun_ms is not None or waiting is None:
        yield Bar(working, begun, ended, each.attempt, each.outcome, is_critical)


_PARTS: dict[Doing, tuple[Part | None, Part]] = {
    Doing.STEP: (Part.QUEUE, Part.RUNNING),
    Doing.UNDO: (Part.UNDO_QUEUE, Part.UNDOING),
    Doing.ASK: (None, Part.ASKING),
}


def _gap(before: Activity | None, until_ms: int, each: Activity, *, is_critical: bool) -> Bar:
    """Say why something was not ready at once when what it waited for had ended."""
    since_ms = until_ms if before is None or before.ended_ms is None else before.ended_ms
    again = before is not None and (before.step_id, before.doing) == (each.step_id, each.doing)
    part = Part.BACKOFF if again else Part.HELD
    return Bar(part, min(since_ms, until_ms), until_ms, each.attempt, is_critical=is_critical)


# -- the critical path -----------------------------------------------------------------------------


def _chain(activities: Activities) -> Iterator[Activity]:
    """Follow from the end what made what ready."""
    each = activities.last if activities.done is not None else None
    if each is None:
        each = _latest(activities)
    while each is not None:
        yield each
        each = each.after


def _latest(activities: Activities) -> Activity | None:
    """Find what the run waits for, or waited for until somebody ended it."""
    still = [each for each in activities.all if each.ended_ms is None]
    if still:
        return min(still, key=lambda each: each.ready_ms)
    return max(activities.all, key=lambda each: each.ended_ms or 0, default=None)


def _path(activities: Activities, begin_ms: int, planned_ms: int, end_ms: int) -> Iterator[Stretch]:
    """Lay the parts of the path end to end, from the end to the beginning."""
    until_ms, later = end_ms, None
    for each in _chain(activities):
        ended = each.ended_ms if each.ended_ms is not None else until_ms
        if ended < until_ms:
            yield Stretch(
                (later or each).step_id, _gap(each, until_ms, later or _RUN, is_critical=True)
            )
        for bar in reversed(list(_bars(each, min(ended, until_ms), is_critical=True))):
            if bar.length_ms or bar.part is Part.RUNNING:
                yield Stretch(each.step_id, bar)
        until_ms, later = min(each.ready_ms, until_ms), each
    if planned_ms < until_ms:
        yield Stretch("", Bar(Part.HELD, planned_ms, until_ms, is_critical=True))
    if begin_ms < planned_ms:
        yield Stretch("", Bar(Part.PLANNING, begin_ms, planned_ms, is_critical=True))


_RUN = Activity(Doing.STEP, "", 0, 0)
