"""Rows on their way into a Parquet file in the blob store, without ever being held in memory.

They are written to disk as lines of JSON as they come, and turned to Parquet by DuckDB. It holds
a couple of thousand rows of a file at once, however wide: so the files are kept small. Numbers
keep their digits: decimals get the scale that their values need. NaN and infinities become null,
as JSON has none.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import orjson

from starlings import StepFailed
from starlings.blobs import BlobStore

MEDIA_TYPE = "application/vnd.apache.parquet"
PREVIEW_ROWS = 20
PREVIEW_BYTES = 16 * 1024
PREVIEW_VALUE = 200
ROW_BYTES = 16 * 1024 * 1024
FILE_BYTES = 16 * 1024 * 1024
_TO_PARQUET: dict[str, Any] = {
    "threads": "1",  # which keeps the order of the rows, too
    "preserve_insertion_order": "false",  # else a part of the table could not be limited in bytes
    "memory_limit": "256MB",
}
DECIMAL_DIGITS = 38
ANY_DECIMAL = "DECIMAL"
_AS_READ = frozenset(
    {"BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER"}
    | {"UBIGINT", "FLOAT", "DOUBLE", "DATE", "TIME", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE"}
    | {"UUID", "VARCHAR"}
)


_TOO_WIDE = frozenset({"HUGEINT", "UHUGEINT"})  # for Parquet, which would make floats of them


@dataclass(slots=True)
class Column:
    """A column: its name, and its type as DuckDB names it."""

    name: str
    type: str
    digits: int = 0  # of decimals, before the point
    scale: int = 0
    exact: bool = field(default=True)

    def measure(self, value: Any) -> str | None:
        """Take note of how many digits a decimal has."""
        if value is None:
            return None
        number = value if isinstance(value, Decimal) else Decimal(str(value))
        if not number.is_finite():
            self.exact = False
            return str(number)
        exponent = int(number.as_tuple().exponent)
        self.scale = max(self.scale, -exponent)
        self.digits = max(self.digits, number.adjusted() + 1, 0)
        return format(number, "f")

    def settle(self) -> None:
        """Decide on the type of decimals, once all have been seen; too many digits stay text."""
        if self.type == ANY_DECIMAL:
            fits = self.exact and self.digits + self.scale <= DECIMAL_DIGITS
            width = max(self.digits + self.scale, 1)
            self.type = f"DECIMAL({width},{self.scale})" if fits else "VARCHAR"


class Table:
    """A result that is being written."""

    def __init__(
        self, folder: Path, blobs: BlobStore, *, max_rows: int, max_bytes: int, truncate: bool
    ) -> None:
        self.folder = folder
        self.columns: list[Column] = []
        self.row_count = 0
        self.truncated = False
        self.affected: int | None = None
        self._blobs = blobs
        self._max_rows = max_rows
        self._max_bytes = max_bytes
        self._truncate = truncate
        self.size_bytes = 0
        self._preview: list[dict[str, Any]] = []
        self._preview_left = PREVIEW_BYTES
        self._plain: list[Callable[[Any], Any]] = []
        self._files = [folder / "rows-0.json"]
        self._lines = self._files[0].open("wb")
        self._file_bytes = 0

    def begin(self, columns: Iterable[tuple[str, str]]) -> None:
        """Say what columns there are; names that come twice are numbered."""
        names: set[str] = set()
        for name, kind in columns:
            unique, number = name or "column", 2
            while unique.lower() in names:
                unique, number = f"{name}_{number}", number + 1
            names.add(unique.lower())
            self.columns.append(Column(unique, ANY_DECIMAL if kind in _TOO_WIDE else kind))
        self._plain = [_plain_of(column) for column in self.columns]

    def add(self, rows: Sequence[Sequence[Any]]) -> bool:
        """Write rows; False: no more are wanted.

        Raises:
            StepFailed: `too_many_rows`, `result_too_large` or `row_too_large`.
        """
        for row in rows:
            if self.row_count >= self._max_rows:
                return self._full("too_many_rows", f"more than {self._max_rows:,} rows")
            values = [plain(value) for plain, value in zip(self._plain, row, strict=True)]
            line = orjson.dumps({f"c{i}": v for i, v in enumerate(values)}, default=_otherwise)
            if len(line) > ROW_BYTES:
                raise StepFailed(
                    f"row {self.row_count + 1:,} has {len(line):,} bytes, and the limit is "
                    f"{ROW_BYTES:,}",
                    code="row_too_large",
                )
            self.size_bytes += len(line)
            if self.size_bytes > self._max_bytes:
                return self._full("result_too_large", f"more than {self._max_bytes:,} bytes")
            self._write(line + b"\n")
            self.row_count += 1
            if len(self._preview) < PREVIEW_ROWS and len(line) <= self._preview_left:
                self._preview_left -= len(line)
                self._show(line)
        return True

    async def finish(self) -> dict[str, Any]:
        """Store the table, and describe it.

        Raises:
            TransientError: `blob_store`.
        """
        self._lines.close()
        claim = None
        if self.columns:
            path = self.folder / "rows.parquet"
            await asyncio.to_thread(self._to_parquet, path)
            names = ", ".join(column.name for column in self.columns[:20])
            summary = f"{counted(self.row_count)}: {names}"
            claim = await self._blobs.put_file(path, MEDIA_TYPE, summary=summary)
        return {
            "columns": [{"name": column.name, "type": column.type} for column in self.columns],
            "row_count": self.row_count,
            "truncated": self.truncated,
            "affected": self.affected,
            "preview": self._preview,
            "table": claim.model_dump() if claim else None,
        }

    def close(self) -> None:
        """Let go of the file, where it was not finished."""
        self._lines.close()

    def _write(self, line: bytes) -> None:
        if self._file_bytes and self._file_bytes + len(line) > FILE_BYTES:
            self._lines.close()
            self._files.append(self.folder / f"rows-{len(self._files)}.json")
            self._lines = self._files[-1].open("wb")
            self._file_bytes = 0
        self._file_bytes += len(line)
        self._lines.write(line)

    def _full(self, code: str, what: str) -> bool:
        if self._truncate:
            self.truncated = True
            return False
        raise StepFailed(
            f"the result has {what}; ask for less, raise `max_rows` (up to STARLINGS_SQL_MAX_ROWS, "
            'and STARLINGS_SQL_MAX_BYTES), or take the first with `on_more: "truncate"`',
            code=code,
        )

    def _show(self, line: bytes) -> None:
        values = orjson.loads(line).values()
        shown = (
            value[:PREVIEW_VALUE] + "…"
            if isinstance(value, str) and len(value) > PREVIEW_VALUE
            else value
            for value in values
        )
        self._preview.append({c.name: v for c, v in zip(self.columns, shown, strict=True)})

    def _to_parquet(self, path: Path) -> None:
        for column in self.columns:
            column.settle()
        read, chosen = {}, []
        for number, column in enumerate(self.columns):
            source = f"c{number}"
            read[source] = column.type if column.type in _AS_READ else "VARCHAR"
            chosen.append(f"{_converted(source, column.type)} AS {quoted(column.name)}")
        config = {**_TO_PARQUET, "temp_directory": str(self.folder / "spill")}
        with duckdb.connect(config=config) as own:
            files: Any = [str(file) for file in self._files]  # which its types do not know
            rows = own.read_json(
                files,
                columns=read,
                format="newline_delimited",
                maximum_object_size=2 * ROW_BYTES,
            )
            rows.project(", ".join(chosen)).write_parquet(
                str(path), compression="zstd", row_group_size_bytes="32MB"
            )


def counted(rows: int) -> str:
    """Say how many rows."""
    return "1 row" if rows == 1 else f"{rows:,} rows"


def quoted(name: str) -> str:
    """Quote an identifier."""
    return '"' + name.replace('"', '""') + '"'


def _converted(source: str, kind: str) -> str:
    if kind in _AS_READ:
        return source
    return f"from_base64({source})" if kind == "BLOB" else f"CAST({source} AS {kind})"


def _plain_of(column: Column) -> Callable[[Any], Any]:
    kind = column.type
    if kind.startswith(ANY_DECIMAL):
        return column.measure if kind == ANY_DECIMAL else _text
    if kind in _AS_READ and kind != "VARCHAR":
        return _same
    if kind == "BLOB":
        return lambda value: None if value is None else base64.b64encode(value).decode()
    if kind != "VARCHAR":
        column.type = "VARCHAR"  # lists, structs, intervals and the like, as text
    return _text


def _same(value: Any) -> Any:
    return value


def _text(value: Any) -> Any:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, list | tuple | dict):
        return orjson.dumps(value, default=_otherwise, option=orjson.OPT_NON_STR_KEYS).decode()
    return str(value)


def _otherwise(value: Any) -> Any:
    """Write what JSON has no form for."""
    return base64.b64encode(value).decode() if isinstance(value, bytes | bytearray) else str(value)
