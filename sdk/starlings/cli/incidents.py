"""Incidents at the command line: where their run is read from, and what is said of the file."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from starlings.blobs import BlobStore
from starlings.kafka.codec import Codec
from starlings.replay import read_archive
from starlings.replay.carried_blobs import blobs_of
from starlings.replay.incident import IncidentHeader
from starlings.replay.run_records import ArchivedLog, LiveLog, RunRecords, find_run
from starlings.service import ServiceSettings, load_settings

from .event_source import latest_in
from .following import run_named
from .options import LATEST
from .printing import clean, console, print_table
from .reach import client


@contextlib.asynccontextmanager
async def recorded_run(
    name: str, archive: Path | None
) -> AsyncGenerator[tuple[RunRecords, BlobStore, str]]:
    """Find all of a run, on Kafka or in an archive; with it the blob store and the prefix."""
    settings = load_settings(ServiceSettings)
    store = BlobStore(settings.blobs_url)
    if archive is not None:
        read = read_archive(archive)
        log = ArchivedLog(read)
        named = latest_in(read) if name == LATEST else name
        with blobs_of(read, store) as blobs:
            codec = Codec(source="starlings/cli", blobs=blobs)
            yield await find_run(log, codec, named), blobs, log.topics.prefix
        return
    async with client() as kafka:
        run_id = (await run_named(kafka, name)).run_id
        codec = Codec(source="starlings/cli", blobs=store)
        live = LiveLog(kafka.connection, kafka.topics)
        yield await find_run(live, codec, run_id), store, kafka.topics.prefix


def written_document(header: IncidentHeader, path: Path) -> dict[str, Any]:
    """Say what was written, for programs."""
    return {"file": str(path), **header.model_dump(mode="json")}


def print_written(header: IncidentHeader, path: Path) -> None:
    """Say what was written, and what was taken out of it."""
    out = console()
    records = sum(header.holds.values())
    blobs = f", {header.blobs} large values" if header.blobs else ""
    size = path.stat().st_size
    out.print(
        f"wrote {path}: run {header.run_id} ({header.status}), {records} records{blobs}, "
        f"{size:,} bytes",
        markup=False,
        soft_wrap=True,
    )
    if not header.redacted:
        out.print("nothing in it looked like a secret; look yourself before you hand it on")
        return
    out.print("taken out of it; look yourself before you hand it on:")
    rows = [[r.placeholder, str(r.times), clean(r.first)] for r in header.redacted]
    print_table(out, ["what stands there now", "times", "first in"], rows, right=[1])
