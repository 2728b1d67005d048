"""Queries on Snowflake, over its SQL API (https://docs.snowflake.com/developer-guide/sql-api).

The `requestId` comes from the attempt's key, and every submission says that it may be a repeat: so
Snowflake answers a second one with the first one's result. Snowflake has no read-only transactions;
a connection that only reads has to name the role that may only read, and Snowflake holds it to it.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from urllib.parse import parse_qs

from starlings import StepFailed
from starlings.messages import ConfigError

from .query import Job
from .rest import Rest
from .settings import Connection
from .table import ANY_DECIMAL, Table

FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 5.0
_RUNNING = 202
_FAILED = 422
_GONE = 404
_KNOWN_MOST = 10_000
_BIGINT_DIGITS = 18
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TYPES = {
    "real": "DOUBLE", "text": "VARCHAR", "boolean": "BOOLEAN", "date": "DATE", "binary": "BLOB",
    "timestamp_ntz": "TIMESTAMP", "timestamp_ltz": "TIMESTAMP WITH TIME ZONE",
    "timestamp_tz": "TIMESTAMP WITH TIME ZONE", "time": "TIME",
}  # fmt: skip
_handles: OrderedDict[str, str] = OrderedDict()


class Snowflake:
    """One account."""

    def __init__(self, connection: Connection, timeout_s: float) -> None:
        parts = connection.parts
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        database, _, schema = parts.path.strip("/").partition("/")
        self._connection = connection
        self._where = {
            "database": database,
            "schema": schema,
            "warehouse": query.get("warehouse", ""),
            "role": query.get("role", ""),
        }
        server = f"https://{parts.hostname}.snowflakecomputing.com"
        self._rest = Rest(connection, query.get("endpoint", server))
        self._timeout_s = timeout_s
        self._headers = {
            "authorization": f"Bearer {connection.token}",
            "x-snowflake-authorization-token-type": query.get(
                "token", "PROGRAMMATIC_ACCESS_TOKEN"
            ).upper(),
            "accept": "application/json",
            "user-agent": "starlings",
        }
        if not connection.writable and not self._where["role"]:
            raise ConfigError(
                f"{connection.setting} names no role, and the connection only reads: end it with "
                "?role=NAME, a role that may only read, or set it writable"
            )

    async def run(self, job: Job, table: Table) -> dict[str, Any]:
        """Run a statement; see the module for what is promised."""
        status, told = await self._submit(job)
        handle = str(told.get("statementHandle", ""))
        _remember(job, handle)
        pause_s = FIRST_PAUSE_S
        while status == _RUNNING:
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 1.5, LONGEST_PAUSE_S)
            status, told = await self._get(handle, {})
        _check(status, told)
        meta = told.get("resultSetMetaData", {})
        fields = meta.get("rowType", [])
        if (changed := told.get("stats", {})) and "numRowsInserted" in changed:
            table.affected = sum(int(v) for k, v in changed.items() if k.startswith("numRows"))
        else:
            table.begin((field["name"], _type(field)) for field in fields)
            await self._read(handle, told, table, len(meta.get("partitionInfo", [])))
        _handles.pop(job.name, None)
        return await table.finish()

    async def cancel(self, job: Job) -> None:
        """End it; what writes is ended only where its handle is known, for to ask is to submit."""
        handle = _handles.pop(job.name, None)
        if handle is None:
            if self._connection.writable:
                return
            _, told = await self._submit(job)
            handle = str(told.get("statementHandle", ""))
        path = f"/api/v2/statements/{handle}/cancel"
        await self._rest.ask("POST", path, also_ok=(_FAILED, _GONE), headers=self._headers)

    async def _submit(self, job: Job) -> tuple[int, dict[str, Any]]:
        query = {
            "requestId": str(uuid.uuid5(uuid.NAMESPACE_URL, f"starlings:{job.key}")),
            "retry": "true",
            "async": "true",
        }
        body = {
            "statement": job.query.sql,
            "timeout": max(1, int(self._timeout_s)),
            "bindings": _bindings(job),
            "parameters": {"query_tag": job.name, "multi_statement_count": "1"},
            **{name: value for name, value in self._where.items() if value},
        }
        return await self._rest.ask(
            "POST", "/api/v2/statements", also_ok=(_FAILED,), params=query, json=body,
            headers=self._headers,
        )  # fmt: skip

    async def _get(self, handle: str, query: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        path = f"/api/v2/statements/{handle}"
        return await self._rest.ask(
            "GET", path, also_ok=(_FAILED,), params=query, headers=self._headers
        )

    async def _read(self, handle: str, page: dict[str, Any], table: Table, partitions: int) -> None:
        fields = page["resultSetMetaData"]["rowType"]
        for number in range(max(partitions, 1)):
            if number:
                status, page = await self._get(handle, {"partition": number})
                _check(status, page)
            rows = [[_value(v, f) for v, f in zip(row, fields, strict=True)]
                    for row in page.get("data", [])]  # fmt: skip
            if not table.add(rows):
                return


def _remember(job: Job, handle: str) -> None:
    _handles[job.name] = handle
    while len(_handles) > _KNOWN_MOST:
        _handles.popitem(last=False)


def _check(status: int, told: dict[str, Any]) -> None:
    if status == _FAILED:
        said = f"{told.get('message', '')} ({told.get('code', '')})"
        denied = told.get("sqlState") == "42501"
        code = "not_permitted" if denied else "query_failed"
        raise StepFailed(f"Snowflake: {said}", code=code)


def _type(field: dict[str, Any]) -> str:
    kind = str(field["type"]).lower()
    if kind == "fixed":
        small = not field.get("scale") and int(field.get("precision") or 38) <= _BIGINT_DIGITS
        return "BIGINT" if small else ANY_DECIMAL
    return _TYPES.get(kind, "")


def _value(value: str | None, field: dict[str, Any]) -> Any:
    """Read a value as the API writes it: as text, times counted from 1970."""
    if value is None:
        return None
    kind = _type(field)
    if kind.startswith("TIME"):
        return _moment(value, kind)
    read = _READ.get(kind)
    return value if read is None else read(value)


_READ: dict[str, Callable[[str], Any]] = {
    "BIGINT": int,
    "DOUBLE": float,
    "BOOLEAN": lambda value: value.lower() in {"true", "1"},
    "BLOB": bytes.fromhex,
    "DATE": lambda value: (_EPOCH + timedelta(days=int(value))).date(),
}


def _moment(value: str, kind: str) -> Any:
    number, _, offset = value.partition(" ")
    seconds, _, fraction = number.partition(".")
    micros = int(seconds) * 1_000_000
    part = int(fraction.ljust(6, "0")[:6] or 0)
    moment = _EPOCH + timedelta(microseconds=micros - part if number[0] == "-" else micros + part)
    if kind == "TIME":
        return moment.time()
    if kind == "TIMESTAMP":
        return moment.replace(tzinfo=None)
    return moment.astimezone(timezone(timedelta(minutes=int(offset) - 1_440))) if offset else moment


def _bindings(job: Job) -> dict[str, Any]:
    params = job.query.params
    if isinstance(params, dict):
        raise StepFailed("Snowflake takes parameters as a list, for ?, ?, …", code="input_invalid")
    if any(isinstance(value, list | dict) for value in params):
        raise StepFailed("Snowflake takes parameters that are single values", code="input_invalid")
    kinds = {bool: "BOOLEAN", int: "FIXED", float: "REAL"}
    return {
        str(number): {
            "type": kinds.get(type(value), "TEXT"),
            "value": None
            if value is None
            else str(value).lower()
            if isinstance(value, bool)
            else str(value),
        }
        for number, value in enumerate(params, start=1)
    }
