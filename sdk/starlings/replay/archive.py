"""A stretch of the log as a file of JSON lines, for programs, `jq` and people.

The first line is a header, each further line a record or an attachment, the last line the count of
records, so that a file that was cut off is told from a whole one. Values that are JSON stand there
as JSON, and come back byte for byte; what would not is written as base64. Files whose names end
with `.gz` are compressed.
"""

from __future__ import annotations

import base64
import bisect
import contextlib
import errno
import gzip
import os
import tempfile
from collections.abc import Generator, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Literal, Self, cast

from aiokafka import ConsumerRecord, TopicPartition
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json, to_json

from starlings.messages import ConfigError, StarlingsError

from .ranges import Range

VERSION: Literal[1] = 1
LINE_LIMIT = 256 * 1024 * 1024
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_NOT_KEPT = -1  # sizes and checksums, which only clients look at


class ArchiveDamaged(StarlingsError):  # noqa: N818 - says what is the case
    """The file is no whole archive; the message names the line."""

    code = "archive_damaged"


class ArchiveHeader(BaseModel):
    """What is said of an archive as a whole; kinds of archives add fields of their own."""

    model_config = ConfigDict(extra="allow")

    starlings_log: Literal[1] = VERSION
    made_at: datetime = Field(default_factory=lambda: datetime.now(UTC))
    prefix: str = Field(default="", description="of the topics' names")
    ranges: list[Range] = Field(default_factory=list)


class ArchiveWriter:
    """Writes an archive; leaving the block without an error writes its end."""

    def __init__(self, file: IO[bytes], header: ArchiveHeader) -> None:
        self.records = 0
        self._file = file
        self._header = header

    def __enter__(self) -> Self:
        """Write the header."""
        self._line(self._header.model_dump_json(exclude_none=True).encode())
        return self

    def __exit__(self, kind: type[BaseException] | None, *_rest: object) -> None:
        """Write the end, where all has been written."""
        if kind is None:
            self._line(to_json({"end": True, "records": self.records}))

    def write(self, record: ConsumerRecord) -> None:
        """Write a record; those of one partition are written in their order."""
        self._line(line_of(record))
        self.records += 1

    def attach(self, kind: str, what: dict[str, Any]) -> None:
        """Write something that is no record."""
        self._line(to_json({"attachment": kind, **what}))

    def _line(self, line: bytes) -> None:
        self._file.write(line)
        self._file.write(b"\n")


@contextlib.contextmanager
def create_archive(path: Path, header: ArchiveHeader) -> Generator[ArchiveWriter]:
    """Write an archive that is there as a whole or not at all.

    Raises:
        ConfigError: no file can be made there, or there is no room for it.
    """
    if path.is_dir():
        raise ConfigError(f"{path} is a folder; name a file in it")
    try:
        number, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written: {error.strerror}; name another file"
        ) from None
    unfinished = Path(name)
    try:
        with (
            os.fdopen(number, "wb") as plain,
            _packing(plain, path) as file,
            ArchiveWriter(file, header) as writer,
        ):
            yield writer
        unfinished.replace(path)
    except BaseException as error:
        unfinished.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in _FULL:
            raise ConfigError(
                f"{path} cannot be written: {error.strerror}; make room, or name another place"
            ) from None
        raise


@contextlib.contextmanager
def _packing(plain: IO[bytes], path: Path) -> Generator[IO[bytes]]:
    if path.suffix == ".gz":
        with gzip.GzipFile(filename="", fileobj=plain, mode="wb", mtime=0) as packed:
            yield cast("IO[bytes]", packed)
    else:
        yield plain


# -- a line ----------------------------------------------------------------------------------------


def line_of(record: ConsumerRecord) -> bytes:
    """Write a record as a line, without its end."""
    head = to_json(
        {
            "topic": record.topic,
            "partition": record.partition,
            "offset": record.offset,
            "timestamp_ms": record.timestamp,
            "key": _text(record.key),
            "headers": _headers(record.headers),
        }
    )[:-1]
    if record.value is None:
        return head + b"}"
    line: bytes = head + b',"value":' + record.value + b"}"
    if _comes_back(line, record.value):
        return line
    return head + b',"value_base64":' + to_json(base64.b64encode(record.value).decode()) + b"}"


def _comes_back(line: bytes, value: bytes) -> bool:
    """Tell whether a reader of the line has exactly these bytes as its value."""
    try:
        return bool(to_json(from_json(line)["value"]) == value)
    except (ValueError, RecursionError):
        return False


def _text(value: bytes | None) -> str | dict[str, str] | None:
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}


def _headers(headers: Sequence[tuple[str, bytes]]) -> Any:
    """Write headers as an object where names are unique and values text; else as pairs."""
    pairs = [(name, _text(value)) for name, value in headers]
    plain = {name: value for name, value in pairs if isinstance(value, str)}
    return plain if len(plain) == len(pairs) else pairs


def record_of(line: dict[str, Any]) -> ConsumerRecord:
    """Read a record.

    Raises:
        KeyError, TypeError, ValueError: something of it is missing or wrong.
    """
    if "value_base64" in line:
        value: bytes | None = base64.b64decode(line["value_base64"], validate=True)
    else:
        value = to_json(line["value"]) if "value" in line else None
    headers = line["headers"]
    pairs = headers.items() if isinstance(headers, dict) else headers
    topic, partition, offset, timestamp_ms = (
        line[name] for name in ("topic", "partition", "offset", "timestamp_ms")
    )
    if not isinstance(topic, str) or not all(
        isinstance(number, int) for number in (partition, offset, timestamp_ms)
    ):
        raise TypeError("topic, partition, offset or timestamp_ms is of a wrong type")
    return ConsumerRecord(
        topic=topic,
        partition=partition,
        offset=offset,
        timestamp=timestamp_ms,
        timestamp_type=_NOT_KEPT,
        key=_bytes(line["key"]),
        value=value,
        checksum=None,
        serialized_key_size=_NOT_KEPT,
        serialized_value_size=_NOT_KEPT,
        headers=tuple((name, _bytes(text)) for name, text in pairs),
    )


def _is_record(line: dict[str, Any]) -> bool:
    return "topic" in line and "attachment" not in line


def _bytes(text: str | dict[str, str] | None) -> bytes | None:
    if isinstance(text, dict):
        return base64.b64decode(text["base64"], validate=True)
    return None if text is None else text.encode()


# -- reading ---------------------------------------------------------------------------------------


class Archive:
    """An archive on disk; iterating reads it anew, a line at a time.

    Records that stand there twice are delivered once (`repeated` counts the others); `gaps` lists
    offsets that are missing within a partition, which compaction makes lawfully.

    Raises, while iterating:
        ArchiveDamaged: with the line, and what is wrong with it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.repeated = 0
        self.gaps: list[tuple[TopicPartition, int, int]] = []
        with contextlib.closing(self._lines()) as lines:
            first = next(lines, None)
        self.header = self._read_header(first[1] if first else None)

    def __iter__(self) -> Iterator[ConsumerRecord]:
        """Deliver the records, those of a partition in their order."""
        self.repeated, self.gaps = 0, []
        seen: dict[TopicPartition, _Offsets] = {}
        for number, line in self._body():
            if not _is_record(line):
                continue
            try:
                record = record_of(line)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise self._damaged(number, f"is no record: {error!r}") from None
            place = TopicPartition(record.topic, record.partition)
            offsets = seen.setdefault(place, _Offsets())
            if record.offset in offsets:
                self.repeated += 1
                continue
            if record.offset < offsets.next:
                raise self._damaged(
                    number, f"lies behind others of {record.topic}/{record.partition}: sort them"
                )
            if offsets and record.offset > offsets.next:
                self.gaps.append((place, offsets.next, record.offset))
            offsets.add(record.offset)
            yield record

    def attachments(self, kind: str) -> Iterator[dict[str, Any]]:
        """Deliver what was attached of one kind."""
        for _, line in self._body():
            if line.get("attachment") == kind:
                yield line

    def _body(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Read all between header and end, and insist on an end that is true."""
        number, records, told = 1, 0, None
        with contextlib.closing(self._lines()) as lines:
            for number, line in lines:
                if number == 1:
                    continue
                if told is not None:
                    raise self._damaged(number, "follows the end: these are several files in one")
                if "end" in line and not _is_record(line):
                    told = line.get("records")
                    continue
                records += _is_record(line)
                yield number, line
        if told is None:
            raise self._damaged(number, "is the last, and no end: the file was cut off")
        if told != records:
            raise self._damaged(number, f"tells of {told} records, and {records} are there")

    def _lines(self) -> Generator[tuple[int, dict[str, Any]]]:
        with self._open() as file:
            number = 0
            try:
                while text := file.readline(LINE_LIMIT):
                    number += 1
                    yield number, self._parsed(number, text)
            except (EOFError, gzip.BadGzipFile) as error:
                raise self._damaged(number, f"is the last that can be read: {error}") from None

    def _open(self) -> IO[bytes]:
        if self.path.suffix == ".gz":
            return gzip.open(self.path, "rb")  # type: ignore[return-value]
        return self.path.open("rb")

    def _parsed(self, number: int, text: bytes) -> dict[str, Any]:
        try:
            line = from_json(text)
        except ValueError as error:
            cut = "" if text.endswith(b"\n") else "; the file was cut off"
            raise self._damaged(number, f"is no JSON: {error}{cut}") from None
        if not isinstance(line, dict):
            raise self._damaged(number, "is no JSON object")
        return line

    def _read_header(self, line: dict[str, Any] | None) -> ArchiveHeader:
        if line is None:
            raise ArchiveDamaged(
                f"{self.path} is empty; `starlings events export` writes what can be read here"
            )
        if "starlings_log" not in line:
            raise ArchiveDamaged(
                f"{self.path} is no log of Starlings: its first line has no `starlings_log`; "
                "`starlings events export` writes such files"
            )
        if line["starlings_log"] != VERSION:
            raise ArchiveDamaged(
                f"{self.path} has version {line['starlings_log']!r}, and this program reads "
                f"version {VERSION}: read it with the version of Starlings that wrote it"
            )
        try:
            return ArchiveHeader.model_validate(line)
        except ValidationError as error:
            raise self._damaged(1, f"is no header: {error}") from None

    def _damaged(self, number: int, what: str) -> ArchiveDamaged:
        return ArchiveDamaged(f"{self.path}: line {number} {what}")


class _Offsets:
    """Offsets of one partition that were seen, as stretches."""

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._ends: list[int] = []

    def __contains__(self, offset: int) -> bool:
        at = bisect.bisect_right(self._firsts, offset) - 1
        return at >= 0 and offset < self._ends[at]

    def __bool__(self) -> bool:
        return bool(self._ends)

    @property
    def next(self) -> int:
        return self._ends[-1] if self._ends else 0

    def add(self, offset: int) -> None:
        if self._ends and offset == self._ends[-1]:
            self._ends[-1] += 1
        else:
            self._firsts.append(offset)
            self._ends.append(offset + 1)


def read_archive(path: Path | str) -> Archive:
    """Open an archive.

    Raises:
        ArchiveDamaged: it is none, or of another version.
        OSError: it cannot be read.
    """
    return Archive(Path(path))
