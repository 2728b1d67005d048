"""Steps of the agent `sql`, run as they are in production, without Kafka."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import duckdb
import pytest

from starlings.agents.execute import execute
from starlings.blobs import BlobStore, Claim
from starlings.messages import StepDone
from starlings_agents.sql import agent
from starlings_agents.sql.running import executions
from support.agents import ready


async def pause(_seconds: float) -> None:
    await asyncio.sleep(0.01)


async def ask(sql: str, *, name: str = "shop", step: str = "s1", **more: Any) -> StepDone:
    given = {"connection": name, "sql": sql, **more}
    done = await execute(agent, ready(agent="sql", step_id=step, task="", input=given), pause=pause)
    assert StepDone.model_validate_json(done.model_dump_json()) == done
    return done


async def refused_each_time(sql: str) -> None:
    """See a statement refused that would end the transaction, also by the next process."""
    first = (await ask(sql)).error
    await executions(1).end("r1/s1/1")  # the process that knew of it is gone
    again = (await ask(sql)).error

    assert (first.code, first.retryable) == ("input_invalid", False)
    assert "begins or ends a transaction" in first.message
    assert again == first


async def rows(done: StepDone, blobs: BlobStore, folder: Path) -> list[tuple[Any, ...]]:
    """Read the whole table back from the blob store."""
    assert done.error is None, done.error
    path = folder / "read.parquet"
    await blobs.get_file(Claim.model_validate(done.output["table"]), path)
    with duckdb.connect() as reader:
        return reader.execute("FROM read_parquet($1)", [str(path)]).fetchall()


def blob_store(folder: Path, monkeypatch: pytest.MonkeyPatch) -> BlobStore:
    """Have a blob store in a folder, of which the settings tell."""
    url = (folder / "blobs").as_uri()
    monkeypatch.setenv("STARLINGS_BLOBS_URL", url)
    return BlobStore(url)


def shop(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a DuckDB file with five things sold, to be asked as `shop`."""
    path = folder / "shop.duckdb"
    with duckdb.connect(str(path)) as made:
        made.execute(
            "CREATE TABLE sold AS SELECT range AS id, 'item ' || range AS name FROM range(5)"
        )
    monkeypatch.setenv("STARLINGS_SQL_SHOP_URL", f"duckdb://{path}")
    return path


def count(path: Path) -> int:
    """Count what is sold."""
    with duckdb.connect(str(path)) as reader:
        return reader.execute("SELECT count(*) FROM sold").fetchone()[0]
