"""Queries on PostgreSQL.

What only reads runs in a read-only transaction, in which PostgreSQL itself refuses to write. The
transaction takes its snapshot before the statement is sent, after which it cannot be turned to
writing, and the protocol takes one statement at a time. A role that PostgreSQL does not hold back
(one that is, or can become, a superuser, or may write files and run programs of the server) is
refused.

What writes takes effect once for an attempt: its key and its result lie in `starlings_statements`,
written in the same transaction.

A session is named after the attempt (`application_name`), so that any instance can end it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import asyncpg
import orjson
from pydantic import TypeAdapter, ValidationError

from starlings import StepFailed, TransientError

from .query import CONNECTION_LOST, Job
from .settings import Connection
from .table import ANY_DECIMAL, Table
from .transactions import controls_transaction, refused

FIRST_ROWS = 50
FETCH_ROWS = 2_000
FETCH_BYTES = 16 * 1024 * 1024
CONNECT_S = 10.0
_KEPT = """CREATE TABLE IF NOT EXISTS starlings_statements
(key text PRIMARY KEY, done_at timestamptz NOT NULL DEFAULT now(), output jsonb)"""
# one statement is enough to become a role that one is a member of, or that one has logged in as
_POWERFUL = """SELECT EXISTS (
SELECT FROM pg_roles, unnest(ARRAY[current_user, session_user]) AS me
WHERE (rolsuper OR rolname IN ('pg_write_server_files', 'pg_execute_server_program'))
AND pg_has_role(me, pg_roles.oid, 'MEMBER'))"""
_OTHERS = """FROM pg_stat_activity
WHERE application_name = $1 AND usename = current_user AND pid <> pg_backend_pid()"""
_TYPES = {
    "bool": "BOOLEAN", "int2": "SMALLINT", "int4": "INTEGER", "int8": "BIGINT", "oid": "BIGINT",
    "float4": "FLOAT", "float8": "DOUBLE", "numeric": ANY_DECIMAL, "date": "DATE", "time": "TIME",
    "timestamp": "TIMESTAMP", "timestamptz": "TIMESTAMP WITH TIME ZONE", "uuid": "UUID",
    "bytea": "BLOB",
}  # fmt: skip
_PARAMETERS: dict[str, TypeAdapter[Any]] = {
    "date": TypeAdapter(date),
    "time": TypeAdapter(time),
    "timestamp": TypeAdapter(datetime),
    "timestamptz": TypeAdapter(datetime),
    "interval": TypeAdapter(timedelta),
    "numeric": TypeAdapter(Decimal),
}


class Postgres:
    """One database."""

    def __init__(self, connection: Connection, timeout_s: float) -> None:
        self._connection = connection
        self._timeout_s = timeout_s

    async def run(self, job: Job, table: Table) -> dict[str, Any]:
        """Run a statement; see the module for what is promised."""
        if controls_transaction(job.query.sql):
            raise refused()
        async with self._session(job.name) as session, _told(session):
            if self._connection.writable:
                return await _write(session, job, table)
            if await session.fetchval(_POWERFUL):
                raise StepFailed(
                    f"the role of {self._connection.setting} may write whatever the transaction: "
                    "give a connection that only reads a role that neither is nor can become a "
                    "superuser, and may neither write files of the server nor run programs there",
                    code="role_too_powerful",
                )
            await session.execute(f"SELECT pg_terminate_backend(pid) {_OTHERS}", job.name)
            async with session.transaction(readonly=True):
                await session.execute("SELECT 1")  # from here on it cannot be made to write
                await _stream(session, job, table)
        return await table.finish()

    async def cancel(self, job: Job) -> None:
        """End every session of the attempt."""
        async with self._session(f"{job.name}-end") as session, _told(session):
            await session.execute(f"SELECT pg_cancel_backend(pid) {_OTHERS}", job.name)

    @asynccontextmanager
    async def _session(self, name: str) -> AsyncGenerator[Any]:
        url = self._connection.url
        settings = {
            "application_name": name,
            "statement_timeout": str(int(self._timeout_s * 1_000) + 1_000),
        }
        try:
            session = await asyncpg.connect(url, server_settings=settings, timeout=CONNECT_S)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            said = self._connection.freed(str(error) or type(error).__name__)
        else:
            try:
                yield session
            finally:
                with suppress(Exception):  # what is cancelled is ended on the server first
                    await session.close(timeout=CONNECT_S)
            return
        raise TransientError(
            f"no connection to {self._connection.name}: {said}; check {self._connection.setting}",
            code="connection_failed",
        )


async def _write(session: Any, job: Job, table: Table) -> dict[str, Any]:
    with suppress(
        asyncpg.UniqueViolationError, asyncpg.DuplicateObjectError, asyncpg.DuplicateTableError
    ):  # somebody makes it at this moment
        await session.execute(_KEPT)
    async with session.transaction():
        mine = await session.fetchval(
            "INSERT INTO starlings_statements (key) VALUES ($1) ON CONFLICT DO NOTHING "
            "RETURNING true",
            job.key,
        )  # waits for another one that does the same
        if not mine:
            kept = await session.fetchval(
                "SELECT output FROM starlings_statements WHERE key = $1", job.key
            )
            output: dict[str, Any] = orjson.loads(kept)
            return output
        await _stream(session, job, table)
        output = await table.finish()
        await session.execute(
            "UPDATE starlings_statements SET output = $2 WHERE key = $1",
            job.key,
            orjson.dumps(output).decode(),
        )
    return output


async def _stream(session: Any, job: Job, table: Table) -> None:
    statement = await session.prepare(job.query.sql)
    given = _parameters(job, statement.get_parameters())
    columns = [(column.name, _TYPES.get(column.type.name, "")) for column in
               statement.get_attributes()]  # fmt: skip
    if not columns:
        await statement.fetch(*given)
        words = (statement.get_statusmsg() or "").split()
        table.affected = int(words[-1]) if words and words[-1].isdecimal() else None
        return
    table.begin(columns)
    cursor, wanted = await statement.cursor(*given), FIRST_ROWS
    while rows := await cursor.fetch(wanted):
        before = table.size_bytes
        if not table.add(rows):
            return
        each = max((table.size_bytes - before) // len(rows), 1)
        wanted = max(1, min(FETCH_ROWS, 2 * wanted, FETCH_BYTES // each))  # wide rows are large


def _parameters(job: Job, types: Any) -> list[Any]:
    """Bring JSON values into the types that the statement takes."""
    params = job.query.params
    if isinstance(params, dict):
        raise StepFailed(
            "PostgreSQL takes parameters as a list, for $1, $2, …", code="input_invalid"
        )
    if len(params) != len(types):
        raise StepFailed(
            f"the statement takes {len(types)} parameters, and {len(params)} are given",
            code="input_invalid",
        )
    found = []
    for number, (value, kind) in enumerate(zip(params, types, strict=True), start=1):
        try:
            found.append(_parameter(value, kind.name))
        except ValidationError as error:
            said = error.errors(include_url=False, include_input=False)[0]["msg"]
            raise StepFailed(
                f"parameter ${number} has to be a {kind.name}: {said}", code="input_invalid"
            ) from None
    return found


def _parameter(value: Any, kind: str) -> Any:
    if value is None:
        return None
    if kind in {"json", "jsonb"}:
        return orjson.dumps(value).decode()
    if kind in {"text", "varchar", "bpchar", "name"} and not isinstance(value, str):
        return orjson.dumps(value).decode()
    adapter = _PARAMETERS.get(kind)
    return adapter.validate_python(value) if adapter else value


@asynccontextmanager
async def _told(session: Any) -> AsyncGenerator[None]:
    """Turn what PostgreSQL refuses into errors with a code.

    Where the connection is lost, nobody knows whether a transaction has been committed.
    """
    try:
        yield
    except asyncpg.ReadOnlySQLTransactionError as error:
        failed = StepFailed(
            f"the connection only reads, and PostgreSQL refused: {error}", code="read_only"
        )
    except asyncpg.InsufficientPrivilegeError as error:
        failed = StepFailed(f"PostgreSQL refused: {error}", code="not_permitted")
    except asyncpg.QueryCanceledError as error:
        failed = StepFailed(f"the statement was ended: {error}", code="query_timeout")
    except (asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError,
            ConnectionError) as error:  # fmt: skip
        failed = StepFailed(str(error), code=CONNECTION_LOST, retryable=True)
    except (asyncpg.InsufficientResourcesError, asyncpg.TransactionRollbackError) as error:
        failed = StepFailed(str(error), code="connection_failed", retryable=True)
    except (asyncpg.DataError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        lost = session.is_closed()
        code = CONNECTION_LOST if lost else "query_failed"
        failed = StepFailed(f"PostgreSQL: {error}", code=code, retryable=lost)
    else:
        return
    raise failed
