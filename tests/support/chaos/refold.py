"""The rule that every decision follows from the log: folded again by the pure core, from the start.

What coordinators published, several of them, killed and frozen between any two lines, must be what
one reader of the log decides who was never disturbed.
"""

from __future__ import annotations

from collections.abc import Iterator

from starlings.choreography import Change, DecisionKind, Ledger, message_for
from starlings.messages import CompensationReady, RunDone, StepReady, StepSkipped, StopRequested
from support.recovery.coordinator import fold_record
from support.recovery.log import Record

from .evidence import Evidence, Row
from .findings import Finding, Rule, places

#: What carries a decision out, on whatever topic.
CARRIES_OUT = (StepReady, CompensationReady, StepSkipped, StopRequested, RunDone)
MUST_APPEAR = {DecisionKind.RELEASE, DecisionKind.UNDO, DecisionKind.END}


def decisions_follow_from_the_log(evidence: Evidence) -> Iterator[Finding]:
    """What was published is what a fold of the log decides, and nothing is left to do."""
    ledgers: dict[int, Ledger] = {}
    decided: dict[str, tuple[DecisionKind, str, bytes]] = {}
    for row in sorted(evidence.events, key=lambda row: (row.partition, row.offset)):
        ledger = ledgers.setdefault(row.partition, Ledger())
        decided.update(_decisions(ledger, row) if row.message is not None else {})
    published: dict[str, Row] = {}
    for row in [*evidence.events, *evidence.steps, *evidence.control]:
        if isinstance(row.message, CARRIES_OUT):
            published.setdefault(row.id, row)
    yield from _compare(decided, published)
    yield from _left_over(ledgers)


def _decisions(ledger: Ledger, row: Row) -> dict[str, tuple[DecisionKind, str, bytes]]:
    record = Record(row.offset, row.at_ms, row.id, row.message)
    outcome = fold_record(ledger, record)
    found = {}
    for decision in outcome.decisions if isinstance(outcome, Change) else ():
        message = message_for(ledger.runs[row.run_id], decision)
        value = message.as_json()
        found[decision.id] = (decision.kind, row.run_id, value)
    return found


def _compare(
    decided: dict[str, tuple[DecisionKind, str, bytes]], published: dict[str, Row]
) -> Iterator[Finding]:
    for ident, row in published.items():
        if ident not in decided:
            text = f"{ident} was published, and does not follow from the log"
            yield Finding("same decisions", row.run_id, text, places(row))
        elif decided[ident][2] != row.value:
            text = f"{ident} was published otherwise than the log decides"
            yield Finding("same decisions", row.run_id, text, places(row))
    stopped = {run_id for kind, run_id, _ in decided.values() if kind is DecisionKind.STOP}
    for ident, (kind, run_id, _) in decided.items():
        if kind in MUST_APPEAR and ident not in published and run_id not in stopped:
            text = f"{ident} follows from the log, and was never published"
            yield Finding("same decisions", run_id, text)


def _left_over(ledgers: dict[int, Ledger]) -> Iterator[Finding]:
    for ledger in ledgers.values():
        for run_id, run in ledger.runs.items():
            owed = ", ".join(run.owed) or "nothing"
            yield Finding("same decisions", run_id, f"it is open still, owing {owed}")
        for parked in ledger.parked.values():
            text = f"the core cannot go on with it: {parked.error!r}"
            yield Finding("same decisions", parked.run_id, text)


RULES: tuple[Rule, ...] = (decisions_follow_from_the_log,)
