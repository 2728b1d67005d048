"""Queries on BigQuery, over its REST API (https://cloud.google.com/bigquery/docs/reference/rest).

The job's id is the attempt's key: a second `insert` for the same attempt meets the first, whichever
instance makes it, so nothing is paid for or written twice. Where a connection only reads, BigQuery
is asked first (`dryRun`) what kind of statement it takes it for, and only a `SELECT` is run; what
its functions may do is for the role of its service account to limit.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

import orjson

from starlings import StepFailed
from starlings.messages import ConfigError

from .google import google_token
from .query import Job
from .rest import Rest
from .settings import Connection
from .table import ANY_DECIMAL, Table

SERVER = "https://bigquery.googleapis.com"
PAGE_ROWS = 10_000
WAIT_MS = 10_000
PAUSE_S = 0.2
_EXISTS = 409
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TYPES = {
    "INTEGER": "BIGINT", "INT64": "BIGINT", "FLOAT": "DOUBLE", "FLOAT64": "DOUBLE",
    "NUMERIC": ANY_DECIMAL, "BIGNUMERIC": ANY_DECIMAL, "BOOLEAN": "BOOLEAN", "BOOL": "BOOLEAN",
    "STRING": "VARCHAR", "BYTES": "BLOB", "TIMESTAMP": "TIMESTAMP WITH TIME ZONE", "DATE": "DATE",
    "TIME": "TIME", "DATETIME": "TIMESTAMP",
}  # fmt: skip


class BigQuery:
    """One project."""

    def __init__(self, connection: Connection, timeout_s: float) -> None:
        parts = connection.parts
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self._connection = connection
        self._timeout_s = timeout_s
        self._project = parts.hostname or ""
        self._dataset = parts.path.strip("/")
        self._location = query.get("location", "US")
        self._rest = Rest(connection, query.get("endpoint", SERVER))
        self._path = f"/bigquery/v2/projects/{self._project}"
        if not self._project:
            raise ConfigError(f"{connection.setting} names no project: bigquery://project/dataset")

    async def run(self, job: Job, table: Table) -> dict[str, Any]:
        """Run a statement; see the module for what is promised."""
        headers = await self._headers()
        if not self._connection.writable:
            await self._check_reads(job, headers)
        body = {
            "jobReference": {
                "projectId": self._project, "jobId": job.name, "location": self._location,
            },
            "configuration": {
                "jobTimeoutMs": str(int(self._timeout_s * 1_000)), "query": self._query(job),
            },
        }  # fmt: skip
        jobs = f"{self._path}/jobs"
        await self._rest.ask("POST", jobs, also_ok=(_EXISTS,), json=body, headers=headers)
        await self._read(job, table, headers)
        return await table.finish()

    async def cancel(self, job: Job) -> None:
        """End it by its id."""
        path = f"{self._path}/jobs/{job.name}/cancel"
        query = {"location": self._location}
        headers = await self._headers()
        await self._rest.ask("POST", path, also_ok=(400, 404), params=query, headers=headers)

    async def _headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {await google_token(self._connection)}"}

    async def _check_reads(self, job: Job, headers: dict[str, str]) -> None:
        body = {
            "jobReference": {"projectId": self._project, "location": self._location},
            "configuration": {"dryRun": True, "query": self._query(job)},
        }
        _, told = await self._rest.ask("POST", f"{self._path}/jobs", json=body, headers=headers)
        kind = told.get("statistics", {}).get("query", {}).get("statementType")
        if kind != "SELECT":
            raise StepFailed(
                f"the connection only reads, and BigQuery takes the statement for {kind}",
                code="read_only",
            )

    def _query(self, job: Job) -> dict[str, Any]:
        given = job.query.params
        named = isinstance(given, dict)
        pairs = list(given.items()) if isinstance(given, dict) else [("", v) for v in given]
        dataset = {"projectId": self._project, "datasetId": self._dataset}
        return {
            "query": job.query.sql,
            "useLegacySql": False,
            **({"defaultDataset": dataset} if self._dataset else {}),
            **({"parameterMode": "NAMED" if named else "POSITIONAL"} if pairs else {}),
            "queryParameters": [_parameter(name, value) for name, value in pairs],
        }

    async def _read(self, job: Job, table: Table, headers: dict[str, str]) -> None:
        query: dict[str, Any] = {
            "location": self._location,
            "timeoutMs": WAIT_MS,
            "maxResults": PAGE_ROWS,
            "formatOptions.useInt64Timestamp": "true",
        }
        begun = False
        while True:
            path = f"{self._path}/queries/{job.name}"
            _, page = await self._rest.ask("GET", path, params=query, headers=headers)
            if not page.get("jobComplete"):
                await asyncio.sleep(PAUSE_S)  # beside what the server waits by itself
                continue
            fields = page.get("schema", {}).get("fields", [])
            if not begun and fields:
                table.begin((field["name"], _type(field)) for field in fields)
            begun = True
            with suppress(KeyError):
                table.affected = int(page["numDmlAffectedRows"])
            rows = [[_value(c.get("v"), f) for c, f in zip(row["f"], fields, strict=True)]
                    for row in page.get("rows", [])]  # fmt: skip
            if not table.add(rows) or not page.get("pageToken"):
                return
            query["pageToken"] = page["pageToken"]
            headers = await self._headers()


def _type(field: dict[str, Any]) -> str:
    return "" if field.get("mode") == "REPEATED" else _TYPES.get(field["type"], "")


def _value(value: Any, field: dict[str, Any]) -> Any:
    """Read a value as the API writes it: nearly everything is text."""
    if value is None:
        return None
    read = _READ.get(_type(field))
    if read is not None:
        return read(value)
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _moment(micros: str) -> datetime:
    return _EPOCH + timedelta(microseconds=int(micros))


_READ: dict[str, Callable[[Any], Any]] = {
    "BIGINT": int,
    "DOUBLE": float,
    "BOOLEAN": lambda value: value in {"true", True},
    "BLOB": base64.b64decode,
    "TIMESTAMP WITH TIME ZONE": _moment,
}


def _parameter(name: str, value: Any) -> dict[str, Any]:
    if isinstance(value, list | dict):
        raise StepFailed("BigQuery takes parameters that are single values", code="input_invalid")
    kinds = {bool: "BOOL", int: "INT64", float: "FLOAT64"}
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return {
        **({"name": name} if name else {}),
        "parameterType": {"type": kinds.get(type(value), "STRING")},
        "parameterValue": {"value": None if value is None else text},
    }
