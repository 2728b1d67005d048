"""The agent `sql_ask`: a question in words becomes a statement, and its rows.

A model writes the statement from the schema, which it gets as data. The database explains the
statement before it is run; what it says against it goes back to the model, a few times at most. The
connection only reads here, whatever its settings say, so no question can change anything. A step
that is started again asks the model nothing twice, and reads anew.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from starlings import Agent, Result, StepContext, StepFailed, TransientError
from starlings.blobs import BlobStore, Claim
from starlings.service.settings import ServiceSettings, load_settings

from .engines import engine_of
from .query import SQL_LIMIT, Engine, Job, Name, Query
from .running import summary_of, told, within
from .scratch import scratch_folder
from .settings import Connection, SqlSettings, connection
from .table import Table
from .wording import STATEMENT, first_messages, repair_messages, schema_text

_ASKED = ("duckdb", "postgresql")
_MENDABLE = frozenset({"query_failed", "read_only", "not_permitted", "input_invalid"})
_MOST_COLUMNS = 20_000
_COLUMNS = """SELECT table_schema, table_name, column_name, data_type
FROM information_schema.columns
WHERE table_schema NOT IN ('information_schema', 'pg_catalog')
AND table_name <> 'starlings_statements'
ORDER BY table_schema, table_name, ordinal_position"""

agent = Agent(
    "sql_ask",
    description="Answers questions in words from a named database (DuckDB, PostgreSQL), which it "
    "only reads: gives the SQL, columns, row count, the first rows and the table. The question is "
    "the task; input: connection, only (names of tables), max_rows, run (false: give the SQL only)",
    concurrency=4,
)


class Question(BaseModel):
    """Where to ask; the question itself is the task."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    connection: Name
    only: list[str] | None = Field(
        default=None, max_length=1_000, description="tables that the model is told of; all"
    )
    max_rows: int | None = Field(default=None, ge=1, description="the first are taken")
    tables: dict[Name, Claim] = Field(
        default_factory=dict, max_length=32, description="results of earlier steps, by table name"
    )
    run: bool = Field(default=True, description="false: give the statement, checked, and no rows")


@agent.step
async def ask(task: str, asked: Question, ctx: StepContext) -> Result:
    """Write the statement, and run it."""
    if not task.strip():
        raise StepFailed("say in `task` what you want to know", code="input_invalid")
    where = connection(asked.connection)
    if where.kind not in _ASKED:
        raise StepFailed(
            f"{where.name} is {where.kind}, and questions in words are for {' and '.join(_ASKED)}; "
            "write the SQL for the agent sql",
            code="not_supported",
        )
    database = _Database(replace(where, writable=False), asked, ctx.idempotency_key)
    messages = first_messages(where.kind, schema_text(await database.columns(), asked.only), task)
    turns = load_settings(SqlSettings).ask_turns
    for turn in range(1, turns + 1):
        sql = await STATEMENT.ask(ctx, turn, messages)
        await ctx.heartbeat({"turn": turn, "sql": sql[:1_000]})
        try:
            return await database.answer(sql)
        except StepFailed as error:
            if error.code not in _MENDABLE or turn == turns:
                raise
            ctx.log.info("the statement does not hold", turn=turn, code=error.code)
            messages = [*messages[:2], *repair_messages(sql, str(error))]
    raise AssertionError("the last turn returns or raises")


class _Rows(Table):
    """Rows that are looked at here, and stored nowhere."""

    def __init__(self, folder: Path, blobs: BlobStore) -> None:
        super().__init__(folder, blobs, max_rows=1, max_bytes=1, truncate=True)
        self.rows: list[tuple[Any, ...]] = []

    def add(self, rows: Iterable[Iterable[Any]]) -> bool:
        """Remember rows, up to a limit."""
        self.rows.extend(tuple(row) for row in rows)
        return len(self.rows) < _MOST_COLUMNS

    async def finish(self) -> dict[str, Any]:
        """Store nothing."""
        return {}


class _Database:
    """A connection that only reads, for one question."""

    def __init__(self, where: Connection, asked: Question, key: str) -> None:
        self._where = where
        self._asked = asked
        self._key = key
        self._settings = load_settings(SqlSettings)
        self._blobs = BlobStore(load_settings(ServiceSettings).blobs_url)

    async def columns(self) -> list[tuple[Any, ...]]:
        """List all columns: schema, table, column, type."""
        with tempfile.TemporaryDirectory(dir=scratch_folder()) as folder:
            return await self._rows(_COLUMNS, Path(folder))

    async def answer(self, sql: str) -> Result:
        """Have the statement explained, then run it.

        Raises:
            StepFailed: the database says something against it.
            TransientError: it may answer later.
        """
        with tempfile.TemporaryDirectory(dir=scratch_folder()) as folder:
            await self._rows(f"EXPLAIN {sql}", Path(folder))
        if not self._asked.run:
            return Result({"connection": self._where.name, "sql": sql}, summary=sql[:500])
        with tempfile.TemporaryDirectory(dir=scratch_folder()) as folder:
            settings = self._settings
            table = Table(
                Path(folder),
                self._blobs,
                max_rows=min(self._asked.max_rows or settings.max_rows, settings.max_rows),
                max_bytes=settings.max_bytes,
                truncate=True,
            )
            output = await self._run(sql, table)
        output = {"connection": self._where.name, "sql": sql, **output}
        return Result(output, summary=summary_of(output))

    async def _rows(self, sql: str, folder: Path) -> list[tuple[Any, ...]]:
        rows = _Rows(folder, self._blobs)
        await self._run(sql, rows)
        return rows.rows

    async def _run(self, sql: str, table: Table) -> dict[str, Any]:
        where, limit_s = self._where, self._settings.timeout_s
        engine: Engine = engine_of(where, self._settings, self._blobs, limit_s)
        query = Query(connection=where.name, sql=sql[:SQL_LIMIT], tables=self._asked.tables)
        try:
            found: dict[str, Any] = await within(
                limit_s, engine.run(Job(key=self._key, query=query), table)
            )
        except Exception as error:
            info = told(error, where.freed)
        else:
            return found
        finally:
            table.close()
        if info.retryable:
            raise TransientError(info.message, code=info.code)
        raise StepFailed(info.message, code=info.code)
