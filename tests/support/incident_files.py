"""Incidents made by hand, of records made by hand."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

from aiokafka import ConsumerRecord

from starlings.blobs import BlobStore
from starlings.client import RunView
from starlings.kafka.codec import CLAIM_HEADER
from starlings.replay.incident_writing import IncidentWriter
from starlings.replay.redacting import Redaction
from starlings.replay.run_records import RunRecords

HEADERS = (("ce_id", b"x"), ("ce_type", b"starlings.step_done.v1"))


def of(
    offset: int, value: Any, *, kind: str = "step_done", claimed: bool = False, raw: bytes = b""
) -> ConsumerRecord:
    """Make a record of `events`."""
    headers = (("ce_id", f"r1/{offset}".encode()), ("ce_type", f"starlings.{kind}.v1".encode()))
    return ConsumerRecord(
        topic="t.events",
        partition=0,
        offset=offset,
        timestamp=1_790_000_000_000 + offset,
        timestamp_type=0,
        key=b"r1",
        value=raw or json.dumps(value, separators=(",", ":")).encode(),
        checksum=None,
        serialized_key_size=-1,
        serialized_value_size=-1,
        headers=(*headers, (CLAIM_HEADER, b"1")) if claimed else headers,
    )


def fact(kind: str, **fields: Any) -> Any:
    """Make a record that gets its offset when it is written."""
    return lambda offset: of(offset, {"run_id": "r1", **fields}, kind=kind)


async def wrote(folder: Path, *records: Any, store: BlobStore | None = None) -> Path:
    """Write an incident of the run r1."""
    numbers = itertools.count()
    made = [each(next(numbers)) if callable(each) else _counted(each, numbers) for each in records]
    path = folder / "incident.jsonl"
    found = RunRecords("r1", RunView("r1"), records=made)
    await IncidentWriter(found, Redaction(names=found.names), store).write(path, "t.")
    return path


def _counted(record: ConsumerRecord, numbers: Any) -> ConsumerRecord:
    if record.topic == "t.events":
        next(numbers)
    return record


LOGS = Path(__file__).parents[1] / "golden" / "logs"


async def golden_incident(folder: Path, name: str = "demo", run_id: str = "demo") -> Path:
    """Write an incident of a recorded story, with the work that its core decided on."""
    path, records = folder / "golden.jsonl", []
    lines = [json.loads(x) for x in (LOGS / f"{name}.jsonl").read_text().splitlines()]
    for line in lines:
        if line["headers"]["ce_subject"] != run_id:
            continue
        records.append(_recorded("t.events", run_id, line["headers"], line["value"], line))
        for decision in line["then"].get("decisions", ()):
            if decision["type"] == "starlings.step_ready.v1":
                value = decision["value"]
                headers = {"ce_id": decision["id"], "ce_type": decision["type"]}
                topic = f"t.steps.{value['agent']}"
                records.append(
                    _recorded(topic, f"{run_id}/{value['step_id']}", headers, value, line)
                )
    found = RunRecords(run_id, RunView(run_id), records=records)
    await IncidentWriter(found, Redaction(names=found.names), None).write(path, "t.")
    return path


def _recorded(
    topic: str, key: str, headers: dict[str, str], value: Any, line: dict[str, Any]
) -> ConsumerRecord:
    return ConsumerRecord(
        topic=topic,
        partition=0,
        offset=line["offset"],
        timestamp=line["timestamp"],
        timestamp_type=0,
        key=key.encode(),
        value=json.dumps(value, separators=(",", ":")).encode(),
        checksum=None,
        serialized_key_size=-1,
        serialized_value_size=-1,
        headers=tuple((name, text.encode()) for name, text in headers.items()),
    )
