"""One line of a recorded log: a record as it lay on Kafka, and what the core made of it.

`then` holds the decisions with the messages that carry them out, and the timers that were set; or
why the fact was ignored. A replay folds the same records and must come to the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from starlings.choreography import Change, Ignored, Ledger, message_for
from starlings.messages import MESSAGES, split_ce_type
from support.recovery.coordinator import fold_record
from support.recovery.log import Record


class Difference(NamedTuple):
    """Where a replay came to something else than the recording."""

    offset: int
    recorded: Any
    replayed: Any


def replay(lines: Iterable[dict[str, Any]], ledger: Ledger | None = None) -> list[Difference]:
    """Fold recorded lines; list all differences."""
    ledger = ledger or Ledger()
    differences = []
    for line in lines:
        then = told(ledger, record_of(line))
        if then != line["then"]:
            differences.append(Difference(line["offset"], line["then"], then))
    return differences


def told(ledger: Ledger, record: Record) -> dict[str, Any]:
    """Fold a record; write down what follows, as JSON values."""
    outcome = fold_record(ledger, record)
    assert not ledger.parked, ledger.parked
    if isinstance(outcome, Ignored):
        return {"ignored": outcome.reason}
    return {"decisions": list(_decisions(ledger, record.run_id, outcome)), "timers": _set(outcome)}


def _decisions(ledger: Ledger, run_id: str, change: Change) -> Iterator[dict[str, Any]]:
    for decision in change.decisions:
        message = message_for(ledger.runs[run_id], decision)
        yield {
            "id": decision.id,
            "type": message.CE_TYPE,
            "value": message.model_dump(mode="json", exclude_defaults=True),
        }


def _set(change: Change) -> list[Any]:
    return [[t.key.kind.value, t.key.step_id, t.key.attempt, t.due_ms] for t in change.timers]


def record_of(line: dict[str, Any]) -> Record:
    """Read a line back into a record."""
    headers = line["headers"]
    named = split_ce_type(headers["ce_type"])
    assert named is not None, headers
    message = MESSAGES[named[0]].model_validate(line["value"])
    return Record(line["offset"], line["timestamp"], headers["ce_id"], message)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read a recorded log."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
