"""The agent `sql` writes to DuckDB: once for an attempt, and after whoever has the file open."""

from __future__ import annotations

import asyncio
from pathlib import Path

import duckdb
import pytest
from support.queries import ask, blob_store, count, refused_each_time, shop
from support.waiting import wait_until

from starlings_agents.sql import get
from starlings_agents.sql.duck import Duck
from starlings_agents.sql.query import Job, Query
from starlings_agents.sql.running import executions


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    blob_store(tmp_path, monkeypatch)
    return shop(tmp_path, monkeypatch)


async def test_a_writable_connection_writes_once_for_an_attempt(file, monkeypatch):
    monkeypatch.setenv("STARLINGS_SQL_SHOP_WRITABLE", "true")
    insert = "INSERT INTO sold VALUES (9, 'new'), (10, 'newer')"

    first = await ask(insert)
    await executions(1).end("r1/s1/1")  # the process that knew of it is gone
    again = await ask(insert)
    returning = await ask("DELETE FROM sold WHERE id = 10 RETURNING name", step="s2")

    assert first.output == again.output
    assert (first.output["affected"], first.output["table"]) == (2, None)
    assert first.summary == "2 rows changed"
    assert returning.output["preview"] == [{"name": "newer"}]
    assert count(file) == 6


@pytest.mark.parametrize("sql", ["COMMIT", "-- so\nROLLBACK", "BEGIN", "/* a */ ; END"])
async def test_a_statement_that_ends_the_transaction_is_refused_each_time(file, monkeypatch, sql):
    monkeypatch.setenv("STARLINGS_SQL_SHOP_WRITABLE", "true")

    await refused_each_time(sql)


async def test_a_statement_waits_for_a_file_that_somebody_else_has_open(file, monkeypatch):
    looks: list[Path] = []

    def looked(self: Duck, path: Path, look=Duck._open) -> object:
        looks.append(path)
        return look(self, path)

    monkeypatch.setattr(Duck, "_open", looked)
    with duckdb.connect(str(file), config={"threads": 1}):  # set up otherwise: it cannot be opened
        waiting = asyncio.ensure_future(ask("SELECT count(*) AS n FROM sold"))
        await wait_until(lambda: len(looks) > 2, timeout_s=30, message="it looks again")
        assert not waiting.done()

    assert (await waiting).output["preview"] == [{"n": 5}]


async def test_a_file_that_stays_open_elsewhere_is_told_and_may_be_tried_again(file, monkeypatch):
    monkeypatch.setenv("STARLINGS_SQL_DUCKDB_WAIT_S", "0.3")

    with duckdb.connect(str(file), config={"threads": 1}):
        failed = await ask("SELECT count(*) FROM sold")

    assert (failed.error.code, failed.error.retryable) == ("database_busy", True)
    assert "another process may have it open" in failed.error.message


async def test_a_write_begun_elsewhere_waits_while_the_database_is_busy(file, monkeypatch):
    monkeypatch.setenv("STARLINGS_SQL_SHOP_WRITABLE", "true")
    monkeypatch.setenv("STARLINGS_SQL_DUCKDB_WAIT_S", "0")
    sql = "INSERT INTO sold VALUES (9, 'new')"
    await ask(sql)
    await executions(1).end("r1/s1/1")  # the process that knew of it is gone
    job = Job(key="r1/s1/1", query=Query(connection="shop", sql=sql))

    async def asks_again() -> bool:
        status = await get(job)
        assert not status.ended, status.error
        return "whether it took effect" in str(status.progress)

    async def has_ended() -> bool:
        return (await get(job)).ended

    with duckdb.connect(str(file), config={"threads": 1}):  # set up otherwise: it cannot be opened
        await wait_until(asks_again, timeout_s=30, message="it is asked again")
    await wait_until(has_ended, timeout_s=30, message="the database answers")

    assert (await get(job)).output["affected"] == 1
    assert count(file) == 6


async def test_a_statement_that_fails_while_writing_leaves_nothing(file, monkeypatch):
    monkeypatch.setenv("STARLINGS_SQL_SHOP_WRITABLE", "true")

    failed = await ask("INSERT INTO sold SELECT range, error('stop') FROM range(3)")
    later = await ask("INSERT INTO sold VALUES (9, 'new')")

    assert failed.error.code == "query_failed"
    assert later.error.code == "query_failed"  # the same attempt has ended: its answer stays
    assert count(file) == 5
