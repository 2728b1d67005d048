"""Rules about runs and what was said of them: nothing lost, nothing said in two ways."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from starlings.messages import (
    CompensationReady,
    CompensationScheduled,
    PlanCreated,
    PlanRejected,
    RunDone,
    RunOutcome,
    StepOutcome,
    StepReady,
    StepScheduled,
    StepSkipped,
    StopAnnounced,
    StopRequested,
    TimerFired,
)

from .evidence import Evidence, Row
from .findings import Finding, Rule, places

#: Messages whose id stands for their content, whoever publishes them, and however often.
DECIDED = (
    PlanCreated,
    PlanRejected,
    StepReady,
    StepScheduled,
    StepSkipped,
    CompensationReady,
    CompensationScheduled,
    StopAnnounced,
    StopRequested,
    TimerFired,
    RunDone,
)


def every_request_ends(evidence: Evidence) -> Iterator[Finding]:
    """Every run that was asked for has an end, and nobody else has one."""
    ends = evidence.ends()
    requests = defaultdict(list)
    for row in evidence.requests:
        requests[row.run_id].append(row)
    for run_id in evidence.asked:
        if not requests[run_id]:
            yield Finding("request kept", run_id, "its request is not in the log")
        if run_id not in ends:
            yield Finding("run ends", run_id, "it has no end", places(*requests[run_id]))
    for run_id, rows in ends.items():
        if run_id not in evidence.asked:
            yield Finding("run ends", run_id, "nobody asked for it", places(*rows))


def an_id_says_one_thing(evidence: Evidence) -> Iterator[Finding]:
    """What was decided twice was decided alike, byte for byte; so a run has one outcome."""
    said: dict[str, Row] = {}
    for row in [*evidence.events, *evidence.steps, *evidence.control]:
        if not isinstance(row.message, DECIDED):
            continue
        first = said.setdefault(row.id, row)
        if first.value != row.value:
            text = f"{row.id} was said in two ways"
            yield Finding("one outcome", row.run_id, text, places(first, row))


def ends_are_right(evidence: Evidence) -> Iterator[Finding]:
    """A run ends as its plan foretells, with the outputs that its plan foretells."""
    for run_id, rows in evidence.ends().items():
        asked, done = evidence.asked.get(run_id), rows[0].message
        if asked is None:
            continue
        stopped = asked.cancelled and done.outcome is RunOutcome.CANCELLED
        if done.outcome is not asked.outcome and not stopped:
            text = f"it ended {done.outcome}, and should have {asked.outcome}: {done.error}"
            yield Finding("right end", run_id, text, places(*rows))
            continue
        outputs = {s.step_id: s.output for s in done.steps if s.state == "done"}
        wrong = {n for n, value in asked.outputs.items() if outputs.get(n) != value}
        wrong |= outputs.keys() - asked.outputs.keys()
        if asked.turns_round or stopped:
            wrong &= outputs.keys()
        if wrong:
            text = f"wrong or missing outputs: {sorted(wrong)}"
            yield Finding("right end", run_id, text, places(*rows))


def no_result_is_lost(evidence: Evidence) -> Iterator[Finding]:
    """Every attempt that was handed out has a result, and no result comes from nowhere."""
    releases, results = evidence.releases(), evidence.results()
    for what, rows in releases.items():
        if what not in results:
            text = f"attempt {what[2]} of {what[1]} was released and has no result"
            yield Finding("no result lost", what[0], text, places(*rows))
    for what, rows in results.items():
        if what not in releases:
            text = f"attempt {what[2]} of {what[1]} has a result and was never released"
            yield Finding("no result lost", what[0], text, places(*rows))


def results_agree(evidence: Evidence) -> Iterator[Finding]:
    """An attempt that succeeded twice succeeded alike."""
    for what, rows in evidence.results().items():
        good = [row for row in rows if row.message.outcome is StepOutcome.OK]
        if len({repr(row.message.output) for row in good}) > 1:
            text = f"attempt {what[2]} of {what[1]} has results that differ"
            yield Finding("results agree", what[0], text, places(*good))


def nothing_is_buried(evidence: Evidence) -> Iterator[Finding]:
    """Nothing of what was sent here belongs into the dead letters."""
    for row in evidence.dead_letters:
        text = f"a dead letter: {row.value[:200]!r}"
        yield Finding("dead letters", row.run_id, text, places(row))
    for row in [*evidence.requests, *evidence.events, *evidence.steps, *evidence.control]:
        if row.message is None:
            yield Finding("dead letters", "", f"cannot be read: {row.value[:200]!r}", places(row))


def processes_end_well(evidence: Evidence) -> Iterator[Finding]:
    """Whoever was asked to stop ended with exit code 0."""
    for name, code in evidence.exit_codes.items():
        if code != 0:
            yield Finding("clean end", "", f"{name} ended with exit code {code}")


RULES: tuple[Rule, ...] = (
    every_request_ends,
    an_id_says_one_thing,
    ends_are_right,
    no_result_is_lost,
    results_agree,
    nothing_is_buried,
    processes_end_well,
)
