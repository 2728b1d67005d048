"""Queries on DuckDB, embedded in this process: database files, and given tables.

What only reads has its database opened read-only, so that DuckDB itself refuses to write, and may
open no other file. Given tables (Parquet, CSV) are loaded into a database of the query's own first,
which is then opened in the same way.

What writes takes effect once for an attempt: its key and its result lie in `starlings_statements`,
written in the same transaction. One process at a time can write to a database file: who finds it
open elsewhere waits a while, as statements wait for locks in other databases.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import duckdb
import orjson

from starlings import StepFailed, TransientError
from starlings.agents.threads import in_thread
from starlings.blobs import BlobStore, Claim
from starlings.messages import ConfigError

from .query import Job
from .scratch import spill_folder
from .settings import Connection, SqlSettings
from .table import Table, quoted
from .transactions import refused

FETCH_ROWS = 2_000
_LOOK_AGAIN_S = 0.1
_MORE = "ask for less, or raise STARLINGS_SQL_DUCKDB_MEMORY or STARLINGS_SQL_DUCKDB_DISK"
_KEPT = "CREATE TABLE IF NOT EXISTS starlings_statements (key TEXT PRIMARY KEY, output TEXT)"
_READERS = {".parquet": "read_parquet", ".csv": "read_csv", ".json": "read_json"}
_MEDIA = {
    "application/vnd.apache.parquet": "read_parquet",
    "text/csv": "read_csv",
    "application/json": "read_json",
}
_opening = threading.Lock()


class Duck:
    """One database file, or given tables."""

    def __init__(self, connection: Connection, settings: SqlSettings, blobs: BlobStore) -> None:
        self._connection = connection
        self._settings = settings
        self._blobs = blobs

    async def run(self, job: Job, table: Table) -> dict[str, Any]:
        """Run a statement; see the module for what is promised."""
        path = unquote(self._connection.parts.path)
        if path and (job.query.tables or self._connection.tables):
            raise StepFailed(
                "tables are given to a connection without a file of its own: one with the URL "
                "duckdb:",
                code="input_invalid",
            )
        if not path and self._connection.writable:
            raise ConfigError(f"{self._connection.setting}: only a database file can be writable")
        file = Path(path) if path else await self._load(job, table.folder)
        database = await self._opened(file)
        try:
            return await self._use(database, job, table)
        finally:
            database.close()

    async def cancel(self, job: Job) -> None:
        """Do nothing: a query belongs to the process that asks for it, and ends there."""

    async def _use(self, database: Any, job: Job, table: Table) -> dict[str, Any]:
        if not self._connection.writable:
            await _interruptible(database, lambda: _stream(database, job, table))
            return await table.finish()
        kept = await _interruptible(database, lambda: _begin_write(database, job, table))
        if kept is not None:
            output: dict[str, Any] = orjson.loads(kept)
            return output
        output = await table.finish()
        text = orjson.dumps(output).decode()
        await _interruptible(database, lambda: _end_write(database, job.key, text))
        return output

    async def _opened(self, file: Path) -> Any:
        """Open a database, and wait for another process that has it open."""
        until = time.monotonic() + self._settings.duckdb_wait_s
        while True:
            try:
                return await in_thread(lambda: self._open(file))
            except TransientError:
                if time.monotonic() >= until:
                    raise
            await asyncio.sleep(_LOOK_AGAIN_S)

    def _open(self, file: Path) -> Any:
        """Open a database; all that open the same file in a process have to say the same."""
        if not self._connection.writable and not file.exists():
            raise StepFailed(
                f"there is no database file of {self._connection.name}; check "
                f"{self._connection.setting}",
                code="connection_failed",
            )
        try:
            return _locked(file, self._settings, read_only=not self._connection.writable)
        except duckdb.Error as error:
            busy = isinstance(error, duckdb.IOException | duckdb.ConnectionException)
            said = f"{self._connection.name} cannot be opened: {error}"
        if busy:
            raise TransientError(f"{said}; another process may have it open", code="database_busy")
        raise StepFailed(said, code="connection_failed")

    async def _load(self, job: Job, folder: Path) -> Path:
        sources: dict[str, tuple[str, Path]] = {}
        for name, given in self._connection.tables.items():
            reader = _READERS.get(Path(given).suffix.lower())
            if reader is None:
                raise ConfigError(
                    f"the table {name!r} of {self._connection.name} is in {given}: it has to be a "
                    ".parquet, .csv or .json file"
                )
            sources[name] = (reader, Path(given))
        for number, (name, claim) in enumerate(job.query.tables.items()):
            local = folder / f"given-{number}"
            sources[name] = (_reader_of(name, claim, self._settings), local)
            await self._blobs.get_file(claim, local)
        file = folder / "tables.duckdb"
        with duckdb.connect(str(file), config=_limits(self._settings)) as own:
            _limit_disk(own, file, self._settings)
            await _interruptible(own, lambda: _fill(own, sources))
        return file


def _reader_of(name: str, claim: Claim, settings: SqlSettings) -> str:
    reader = _MEDIA.get(claim.media_type)
    if reader is None:
        raise StepFailed(
            f"the table {name!r} is {claim.media_type}; it has to be one of {', '.join(_MEDIA)}",
            code="input_invalid",
        )
    if claim.size_bytes > settings.max_bytes:
        raise StepFailed(
            f"the table {name!r} has {claim.size_bytes:,} bytes, and STARLINGS_SQL_MAX_BYTES is "
            f"{settings.max_bytes:,}",
            code="input_invalid",
        )
    return reader


def _locked(file: Path, settings: SqlSettings, *, read_only: bool) -> Any:
    """Open a database that opens nothing else, whatever it is asked."""
    with _opening:
        database = duckdb.connect(str(file), read_only=read_only, config=_limits(settings))
        known = database.execute("SELECT current_setting('lock_configuration')").fetchone()
        if known != (True,):  # else it is open in this process already
            _limit_disk(database, file, settings)
            database.execute("SET enable_external_access = false")
            database.execute("SET lock_configuration = true")
    return database


def _limit_disk(database: Any, file: Path, settings: SqlSettings) -> None:
    """Say where to spill, and how much: a limit that is said at the opening is not kept to."""
    folder = str(spill_folder(file)).replace("'", "''")
    database.execute(f"SET temp_directory = '{folder}'")
    database.execute(f"SET max_temp_directory_size = '{settings.duckdb_disk}'")


def _limits(settings: SqlSettings) -> dict[str, Any]:
    return {
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "memory_limit": settings.duckdb_memory,
        "threads": "2",
    }


def _fill(own: Any, sources: dict[str, tuple[str, Path]]) -> None:
    for name, (reader, path) in sources.items():
        try:
            own.execute(f"CREATE TABLE {quoted(name)} AS FROM {reader}($1)", [str(path)])
        except duckdb.Error as error:
            said = str(error)
        else:
            continue
        raise StepFailed(f"the table {name!r} cannot be read: {said}", code="table_unreadable")


async def _interruptible(database: Any, work: Callable[[], Any]) -> Any:
    """Do work on a database in a thread; cancelled, it is interrupted and its end awaited."""
    doing = asyncio.ensure_future(in_thread(work))
    try:
        return await asyncio.shield(doing)
    except asyncio.CancelledError:
        while not doing.done():
            database.interrupt()
            await asyncio.wait([doing], timeout=0.1)
        doing.exception()  # which nobody waits for any more
        raise


def _begin_write(database: Any, job: Job, table: Table) -> str | None:
    """Run a statement in a transaction that stays open; or say what became of it before."""
    database.execute(_KEPT)
    database.execute("BEGIN")
    found = database.execute(
        "SELECT output FROM starlings_statements WHERE key = $1", [job.key]
    ).fetchone()
    if found is not None:
        database.execute("ROLLBACK")
        return str(found[0])
    database.execute("INSERT INTO starlings_statements VALUES ($1, NULL)", [job.key])
    _stream(database, job, table)
    return None


def _end_write(database: Any, key: str, output: str) -> None:
    database.execute("UPDATE starlings_statements SET output = $2 WHERE key = $1", [key, output])
    database.execute("COMMIT")


def _stream(database: Any, job: Job, table: Table) -> None:
    try:
        _stream_rows(database, job, table)
        return
    except duckdb.InvalidInputException as error:
        code = "read_only" if "read-only mode" in str(error) else "query_failed"
        said = str(error)
    except duckdb.PermissionException as error:
        code, said = "not_permitted", str(error)
    except duckdb.OutOfMemoryException as error:
        code, said = "resource_exhausted", f"{str(error).splitlines()[0]}; {_MORE}"
    except duckdb.Error as error:
        code, said = "query_failed", str(error)
    raise StepFailed(f"DuckDB: {said}", code=code)


def _stream_rows(database: Any, job: Job, table: Table) -> None:
    statements = duckdb.extract_statements(job.query.sql)
    if len(statements) != 1:
        raise StepFailed(
            f"the SQL has {len(statements)} statements; a step runs one", code="input_invalid"
        )
    if statements[0].type == duckdb.StatementType.TRANSACTION:
        raise refused()
    params = job.query.params
    database.execute(statements[0], params or None)
    changes = duckdb.ExpectedResultType.CHANGED_ROWS in statements[0].expected_result_type
    described = database.description or []
    if changes and len(described) == 1 and described[0][0] == "Count":
        counted = database.fetchone()
        table.affected = int(counted[0]) if counted else None
        return
    table.begin((column[0], str(column[1])) for column in described)
    while rows := database.fetchmany(FETCH_ROWS):
        if not table.add(rows):
            return
