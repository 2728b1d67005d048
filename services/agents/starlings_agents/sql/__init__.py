"""The agent `sql`: one statement on a named database, its rows as a table in the blob store.

The output describes the result and shows its first rows; the rows themselves are a Parquet file,
referred to by a claim check. Whether a statement may write is said by the connection, and kept to
by the database itself.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

from starlings import JobAgent, JobStatus, StepContext, StepFailed
from starlings.blobs import BlobStore
from starlings.messages import ErrorInfo
from starlings.service.settings import ServiceSettings, load_settings

from .engines import engine_of
from .query import CONNECTION_LOST, Engine, Job, Query
from .running import Execution, executions, within
from .settings import SqlSettings, connection
from .table import Table

_MAY_RUN_ON = frozenset({"query_timeout", "too_many_rows", "result_too_large"})

agent = JobAgent[Job](
    "sql",
    description="Runs one SQL statement on a named database (DuckDB, PostgreSQL, BigQuery, "
    "Snowflake) and gives columns, row count, the first rows and the table. Input: connection, "
    "sql, params (a list for $1, $2, …), max_rows, on_more (error or truncate), timeout_s",
    create_timeout_s=30.0,
    get_timeout_s=30.0,
    delete_timeout_s=30.0,
    first_poll_s=0.2,
    longest_poll_s=10.0,
)


@agent.create
async def create(query: Query, ctx: StepContext) -> Job:
    """Begin the query."""
    job = Job(key=ctx.idempotency_key, query=query)
    _begin(job)
    return job


@agent.get
async def get(job: Job) -> JobStatus:
    """Say how far it is; where this process does not know it, go on with it here.

    Of a write whose connection was lost nobody knows whether it took effect, nor of one that was
    begun elsewhere. Another attempt would write under another key, so it is asked about under its
    own until the database answers.
    """
    settings = load_settings(SqlSettings)
    found = executions(settings.at_once).find(job.key) or _begin(job, again=True)
    if found.status is None:
        return JobStatus("running" if found.at_work else "pending")
    unknown = _unknown_end(found)
    if unknown is None or not connection(job.query.connection).writable:
        return found.status
    await executions(settings.at_once).end(job.key)
    _begin(job, again=True)
    return JobStatus("pending", progress=f"asking again whether it took effect: {unknown}")


@agent.delete
async def delete(job: Job) -> None:
    """End it, here and on the database."""
    settings = load_settings(SqlSettings)
    await executions(settings.at_once).end(job.key)
    await _engine(job, settings).cancel(job)


def _unknown_end(found: Execution) -> str | None:
    """Say what was in the way where a statement failed, and may have taken effect all the same."""
    error = found.status.error if found.status is not None else None
    if not isinstance(error, ErrorInfo):
        return None
    unknown = error.code == CONNECTION_LOST or (found.again and error.retryable)
    return error.message if unknown else None


def _begin(job: Job, *, again: bool = False) -> Execution:
    settings = load_settings(SqlSettings)
    where = connection(job.query.connection)
    engine = _engine(job, settings)

    async def work(folder: Path) -> dict[str, Any]:
        table = Table(
            folder,
            _blobs(),
            max_rows=min(job.query.max_rows or settings.max_rows, settings.max_rows),
            max_bytes=settings.max_bytes,
            truncate=job.query.on_more == "truncate",
        )
        try:
            output = await within(_timeout_s(job, settings), engine.run(job, table))
        except StepFailed as error:
            if error.code in _MAY_RUN_ON:
                with suppress(Exception):  # its server ends it by itself, only later
                    await engine.cancel(job)
            raise
        finally:
            await asyncio.to_thread(table.close)
        return {"connection": where.name, **output}

    return executions(settings.at_once).begin(job.key, work, where.freed, again=again)


def _engine(job: Job, settings: SqlSettings) -> Engine:
    where = connection(job.query.connection)
    return engine_of(where, settings, _blobs(), _timeout_s(job, settings))


def _timeout_s(job: Job, settings: SqlSettings) -> float:
    return min(job.query.timeout_s or settings.timeout_s, settings.timeout_s)


def _blobs() -> BlobStore:
    return BlobStore(load_settings(ServiceSettings).blobs_url)
