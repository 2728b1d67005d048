"""Writing an incident: everything is looked at for secrets first, then written without them.

A large value becomes another one where something is taken out of it; its claim checks, wherever
they stand, then name the new one.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from aiokafka import ConsumerRecord
from pydantic import JsonValue
from pydantic_core import to_json

from starlings.agents.call_record import digest_of
from starlings.blobs import BlobStore, Claim
from starlings.messages import StarlingsError

from .archive import create_archive
from .carried_blobs import as_claim, attach_blob, claims_in, json_of
from .incident import IncidentHeader, LeftBlob, Redacted
from .ranges import Range
from .redacting import Redaction
from .run_records import RunRecords
from .secret_signs import is_secret_name, label_of


class IncidentWriter:
    """Writes one incident.

    Args:
        found: the run.
        redaction: takes secrets out; it has learnt nothing yet.
        blobs: where large values are fetched; None: the file carries none.
    """

    def __init__(self, found: RunRecords, redaction: Redaction, blobs: BlobStore | None) -> None:
        self._found = found
        self._redaction = redaction
        self._store = blobs
        self._records = sorted(found.records, key=lambda r: (r.topic, r.partition, r.offset))
        self._fetched: dict[str, bytes] = {}
        self._left: dict[str, LeftBlob] = {}
        self._renamed: dict[str, tuple[str, int]] = {}

    async def write(self, path: Path, prefix: str) -> IncidentHeader:
        """Write the file; return what its header says.

        Raises:
            OSError: the file cannot be written.
        """
        await self._fetch_all()
        self._learn()
        blobs = {digest: self._blob(digest, value) for digest, value in self._fetched.items()}
        records = [self._cleaned(record) for record in self._records]
        header = self._header(prefix, blobs=len(blobs))
        with create_archive(path, header) as archive:
            for record in records:
                archive.write(record)
            for digest, value in blobs.items():
                attach_blob(archive, self._renamed[digest][0], value)
        return header

    # -- large values --------------------------------------------------------------------------

    async def _fetch_all(self) -> None:
        values: Iterable[JsonValue] = [json_of(record.value) for record in self._records]
        while claims := {c.sha256: c for v in values for c in claims_in(v)}:
            new = [c for digest, c in claims.items() if not self._is_known(digest)]
            values = [json_of(await self._fetch(claim)) for claim in new]

    def _is_known(self, digest: str) -> bool:
        return digest in self._fetched or digest in self._left

    async def _fetch(self, claim: Claim) -> bytes | None:
        reason = "not asked for"
        if self._store is not None:
            try:
                self._fetched[claim.sha256] = value = await self._store.get(claim)
            except StarlingsError as error:
                reason = str(error)
            else:
                return value
        self._left[claim.sha256] = LeftBlob(
            uri=claim.uri, size_bytes=claim.size_bytes, reason=reason
        )
        return None

    def _blob(self, digest: str, value: bytes) -> bytes:
        self._redaction.at(digest)
        cleaned = self._without_secrets(value)
        self._renamed[digest] = (hashlib.sha256(cleaned).hexdigest(), len(cleaned))
        return cleaned

    # -- secrets -------------------------------------------------------------------------------

    def _learn(self) -> None:
        for record in self._records:
            self._headers(record)
            if record.value is not None:
                self._without_secrets(record.value)
        for value in self._fetched.values():
            self._without_secrets(value)
        self._redaction.learnt()

    def _without_secrets(self, value: bytes) -> bytes:
        data = json_of(value)
        if not isinstance(data, dict | list):
            return self._redaction.data(value)
        cleaned = self._renaming(self._redaction.value(data))
        # text that is no value of its own, such as the first of two fields of one name
        if cleaned != data or self._redaction.data(value) != value:
            return bytes(to_json(_with_digests(cleaned, data)))
        return value

    def _renaming(self, value: JsonValue) -> JsonValue:
        """Let claim checks name what the file carries."""
        if isinstance(value, list):
            return [self._renaming(inner) for inner in value]
        if not isinstance(value, dict):
            return value
        claim = as_claim(value)
        if claim is None:
            return {name: self._renaming(inner) for name, inner in value.items()}
        digest, size = self._renamed.get(claim.sha256, (claim.sha256, claim.size_bytes))
        return {**value, "sha256": digest, "size_bytes": size}

    def _headers(self, record: ConsumerRecord) -> tuple[tuple[str, bytes], ...]:
        return tuple(
            (self._redaction.text(name), self._header_value(name, value))
            for name, value in record.headers
        )

    def _header_value(self, name: str, value: bytes) -> bytes:
        if value is None:  # which Kafka allows, and the types do not
            return value
        if is_secret_name(name):
            text = self._redaction.value(value.decode(errors="replace"), under=label_of(name))
            return str(text).encode()
        return self._redaction.data(value)

    def _cleaned(self, record: ConsumerRecord) -> ConsumerRecord:
        self._redaction.at(f"{record.topic}/{record.partition}/{record.offset}")
        return ConsumerRecord(
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            timestamp=record.timestamp,
            timestamp_type=record.timestamp_type,
            key=record.key if record.key is None else self._redaction.data(record.key),
            value=record.value if record.value is None else self._without_secrets(record.value),
            checksum=None,
            serialized_key_size=record.serialized_key_size,
            serialized_value_size=record.serialized_value_size,
            headers=self._headers(record),
        )

    # -- the header ----------------------------------------------------------------------------

    def _header(self, prefix: str, *, blobs: int) -> IncidentHeader:
        view = self._found.view
        return IncidentHeader(
            prefix=prefix,
            ranges=self._ranges(),
            run_id=self._found.run_id,
            status=view.status,
            ended=view.done is not None or view.rejected is not None or self._found.end_unread,
            since=view.since,
            holds=dict(Counter(record.topic for record in self._records)),
            blobs=blobs,
            left=list(self._left.values()),
            redacted=[
                Redacted(placeholder=each.placeholder, times=each.times, first=each.first)
                for each in self._redaction.taken
            ],
        )

    def _ranges(self) -> list[Range]:
        """Say of each partition from where to where it has records of the run."""
        begins: dict[Any, tuple[int, int | None]] = {
            asked.place: (asked.begin, asked.begin_ms) for asked in self._found.ranges
        }
        offsets: dict[tuple[str, int], list[int]] = {}
        for record in self._records:
            offsets.setdefault((record.topic, record.partition), []).append(record.offset)
        found = []
        for (topic, partition), there in offsets.items():
            begin, begin_ms = begins.get((topic, partition), (0, None))
            found.append(
                Range(
                    topic=topic,
                    partition=partition,
                    begin=begin,
                    begin_ms=begin_ms,
                    first=there[0],
                    end=there[-1] + 1,
                )
            )
        return found


def _with_digests(fact: Any, before: Any) -> Any:
    """Name recorded calls by the arguments that they have now, so that a replay finds them."""
    kept = fact.get("kept") if isinstance(fact, dict) else None
    if not isinstance(kept, dict) or not isinstance(kept.get("tools"), dict):
        return fact
    pairs = zip(_digests(before.get("calls")), _digests(fact.get("calls")), strict=True)
    renamed = dict(pairs)
    tools = {name: renamed[digest] for name, digest in kept["tools"].items() if digest in renamed}
    return {**fact, "kept": {**kept, "tools": tools}}


def _digests(calls: JsonValue) -> list[str]:
    each = calls if isinstance(calls, list) else []
    return [
        digest_of(str(call.get("tool")), args)
        for call in each
        if isinstance(call, dict) and isinstance(args := call.get("args"), dict)
    ]
