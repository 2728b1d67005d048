"""The agent `sql` on DuckDB: files, given tables, and what it must not do."""

from __future__ import annotations

import asyncio
import datetime as dt
import fcntl
import json
import os
import resource
from decimal import Decimal
from pathlib import Path

import pytest
from support.agents import ready
from support.queries import ask, blob_store, count, pause, rows, shop
from support.waiting import wait_until

from starlings import StepContext
from starlings.agents.execute import execute
from starlings.blobs import BlobStore
from starlings.messages import StepOutcome
from starlings_agents.sql import agent, delete, get
from starlings_agents.sql.query import Job, Query
from starlings_agents.sql.running import executions
from starlings_agents.sql.scratch import clear_abandoned, scratch_folder


@pytest.fixture
def blobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BlobStore:
    return blob_store(tmp_path, monkeypatch)


@pytest.fixture
def file(tmp_path: Path, blobs: BlobStore, monkeypatch: pytest.MonkeyPatch) -> Path:
    return shop(tmp_path, monkeypatch)


async def test_rows_come_as_a_table_in_the_blob_store_with_a_preview(file, blobs, tmp_path):
    done = await ask("SELECT id, name FROM sold WHERE id >= $1 ORDER BY id", params=[3])

    assert done.output["columns"] == [
        {"name": "id", "type": "BIGINT"}, {"name": "name", "type": "VARCHAR"},
    ]  # fmt: skip
    assert (done.output["row_count"], done.output["truncated"]) == (2, False)
    assert done.output["preview"] == [{"id": 3, "name": "item 3"}, {"id": 4, "name": "item 4"}]
    assert await rows(done, blobs, tmp_path) == [(3, "item 3"), (4, "item 4")]
    assert done.summary == "2 rows: id, name"


async def test_values_of_all_types_come_back_as_they_were(file, blobs, tmp_path):
    done = await ask(
        "SELECT 1.50::DECIMAL(10,2) d, 1267650600228229401496703205376::HUGEINT h,"
        " DATE '2030-05-01' AS day1, TIMESTAMP '2030-05-01 10:00:00.123456' AS at1, 'ab'::BLOB b,"
        " [1, 2] l, {'a': 1} s, NULL::INTEGER n, true t, uuid() u, 'x' AS d, 'nan'::DOUBLE f,"
        " INTERVAL 3 DAY i, $a::INTEGER + 1 p, '' e",
        params={"a": 41},
    )

    (row,) = await rows(done, blobs, tmp_path)
    assert row[:5] == (
        Decimal("1.50"), 2**100, dt.date(2030, 5, 1),
        dt.datetime(2030, 5, 1, 10, 0, 0, 123456), b"ab",  # noqa: DTZ001 - it has no zone
    )  # fmt: skip
    assert (json.loads(row[5]), json.loads(row[6])) == ([1, 2], {"a": 1})
    assert (row[7], row[8], row[10], row[11], row[13], row[14]) == (None, True, "x", None, 42, "")
    assert done.summary.startswith("1 row: d, h, ")
    names = [column["name"] for column in done.output["columns"]]
    assert (names[0], names[10]) == ("d", "d_2")


async def test_times_with_a_zone_come_back(file, blobs, tmp_path):
    done = await ask("SELECT TIMESTAMPTZ '2030-05-01 10:00:00+02' AS at")

    assert done.output["columns"][0]["type"] == "TIMESTAMP WITH TIME ZONE"
    ((at,),) = await rows(done, blobs, tmp_path)
    assert at == dt.datetime(2030, 5, 1, 8, tzinfo=dt.UTC)


async def test_a_result_without_rows_is_a_table_without_rows(file, blobs, tmp_path):
    done = await ask("SELECT * FROM sold WHERE id < 0")

    assert await rows(done, blobs, tmp_path) == []
    assert [column["name"] for column in done.output["columns"]] == ["id", "name"]


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("INSERT INTO sold VALUES (9, 'x')", "read_only"),
        ("DELETE FROM sold", "read_only"),
        ("DROP TABLE sold", "read_only"),
        ("WITH x AS (SELECT 1) INSERT INTO sold SELECT 9, 'x' FROM x", "read_only"),
        ("EXPLAIN ANALYZE INSERT INTO sold VALUES (9, 'x')", "read_only"),
        ("COPY sold TO '{folder}/out.csv'", "not_permitted"),
        ("EXPORT DATABASE '{folder}/out'", "not_permitted"),
        ("ATTACH '{folder}/out.duckdb' AS other", "not_permitted"),
        ("SELECT * FROM read_csv('/etc/passwd')", "not_permitted"),
        ("SET enable_external_access = true", "query_failed"),
        ("SELECT 1; DELETE FROM sold", "input_invalid"),
        ("SELECT nothing FROM sold", "query_failed"),
        ("not sql at all", "query_failed"),
    ],
)
async def test_what_only_reads_is_held_to_it_by_the_database(file, tmp_path, sql, code):
    done = await ask(sql.format(folder=tmp_path))

    assert (done.error.code, done.error.retryable) == (code, False)
    assert not list(tmp_path.glob("out*"))
    assert count(file) == 5


async def test_parameters_are_values_and_never_sql(file):
    done = await ask("SELECT $1 AS said", params=["'; DROP TABLE sold; --"])

    assert done.output["preview"] == [{"said": "'; DROP TABLE sold; --"}]
    assert count(file) == 5


async def test_ten_million_rows_are_an_error_or_their_first_are_taken(file, monkeypatch):
    monkeypatch.setenv("STARLINGS_SQL_MAX_ROWS", "5000")
    sql = "SELECT range AS i FROM range(10_000_000)"

    error = (await ask(sql, max_rows=10_000_000)).error
    first = await ask(sql, step="s2", on_more="truncate")

    assert (error.code, error.retryable) == ("too_many_rows", False)
    assert "more than 5,000 rows" in error.message
    assert "STARLINGS_SQL_MAX_ROWS" in error.message
    assert (first.output["row_count"], first.output["truncated"]) == (5_000, True)
    assert "there are more" in first.summary


async def test_a_long_result_is_never_held_in_memory(file, blobs, tmp_path):
    await ask("SELECT 1 AS i")  # what is loaded at the first use is not counted
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    done = await ask("SELECT range AS i, repeat('x', 100) AS t FROM range(1_000_000)", step="s2")

    grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert done.output["row_count"] == 1_000_000
    assert grown_mb < 250  # as Python objects it is 300 MB and more, and 110 MB as text


async def test_a_result_that_is_too_large_is_told(file, monkeypatch):
    monkeypatch.setenv("STARLINGS_SQL_MAX_BYTES", str(1 << 20))

    error = (await ask("SELECT repeat('x', 1000) AS t FROM range(5000)")).error

    assert error.code == "result_too_large"


async def test_a_statement_that_takes_too_long_is_ended(file):
    error = (await ask("SELECT count(*) FROM range(1e12::BIGINT)", timeout_s=0.3)).error

    assert (error.code, error.retryable) == ("query_timeout", False)
    assert "0.3 s" in error.message


async def test_an_unknown_connection_is_told_with_those_that_there_are(file):
    error = (await ask("SELECT 1", name="nowhere")).error

    assert (error.code, error.retryable) == ("unknown_connection", False)
    assert "shop" in error.message
    assert "STARLINGS_SQL_NOWHERE_URL" in error.message


async def test_a_cancelled_query_is_ended_and_may_be_ended_again(file):
    given = {"connection": "shop", "sql": "SELECT count(*) FROM range(1e12::BIGINT)"}
    step = ready(agent="sql", task="", input=given)
    working = asyncio.create_task(execute(agent, step, pause=pause))
    job = Job(key="r1/s1/1", query=Query(**given))
    running = executions(1)
    await wait_until(lambda: (e := running.find(job.key)) and e.at_work, message="it is at work")
    task = running.find(job.key).task

    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    await delete(job)

    assert task.cancelled()
    assert running.find(job.key) is None


async def test_a_handle_that_this_process_does_not_know_is_gone_on_with(file):
    job = Job(key="r1/s9/1", query=Query(connection="shop", sql="SELECT count(*) AS n FROM sold"))

    assert (await get(job)).ended is False
    await wait_until(lambda: executions(1).find(job.key).status, message="it has ended")

    assert (await get(job)).output["preview"] == [{"n": 5}]


async def test_a_query_that_nobody_asks_about_is_ended(file):
    job = Job(
        key="r1/s1/1",
        query=Query(connection="shop", sql="SELECT count(*) FROM range(1e12::BIGINT)"),
    )
    await get(job)
    found = executions(1).find(job.key)

    executions(1).sweep(unasked_s=300)
    assert executions(1).find(job.key) is found
    executions(1).sweep(unasked_s=0)
    await asyncio.wait([found.task])

    assert found.task.cancelled()
    assert executions(1).find(job.key) is None


async def test_results_of_earlier_steps_are_tables(file, blobs, tmp_path, monkeypatch):
    csv = tmp_path / "prices.csv"
    csv.write_text("id,price\n1,2.5\n2,4\n")
    monkeypatch.setenv("STARLINGS_SQL_DESK_URL", "duckdb:")
    monkeypatch.setenv("STARLINGS_SQL_DESK_TABLES", json.dumps({"prices": str(csv)}))
    sold = (await ask("SELECT id, name FROM sold")).output["table"]

    done = await ask(
        "SELECT name, price FROM sold JOIN prices USING (id) ORDER BY id",
        name="desk", step="s2", tables={"sold": sold},
    )  # fmt: skip
    write = await ask("DELETE FROM prices", name="desk", step="s3")
    other = await ask("SELECT * FROM read_csv($1)", name="desk", step="s4", params=[str(csv)])

    assert done.output["preview"] == [
        {"name": "item 1", "price": 2.5}, {"name": "item 2", "price": 4.0},
    ]  # fmt: skip
    assert (write.error.code, other.error.code) == ("read_only", "not_permitted")


async def test_a_table_from_elsewhere_or_that_was_changed_is_refused(file, blobs, monkeypatch):
    monkeypatch.setenv("STARLINGS_SQL_DESK_URL", "duckdb:")
    sold = (await ask("SELECT id FROM sold")).output["table"]

    async def code(**change):
        table = {"t": {**sold, **change}}
        return (await ask("FROM t", name="desk", step=next(iter(change)), tables=table)).error.code

    assert await code(uri="file:///etc/passwd") == "blob_elsewhere"
    assert await code(sha256="0" * 64) == "blob_changed"
    assert await code(media_type="text/html") == "input_invalid"
    assert (await ask("FROM t", tables={"t": sold}, step="s3")).error.code == "input_invalid"


BIG = (
    "SELECT count(DISTINCT md5(range::TEXT) || md5(range::TEXT || 'x')) AS n FROM range(1_500_000)"
)


async def test_what_does_not_fit_into_memory_goes_to_a_folder_of_its_own_within_a_limit(
    file, monkeypatch
):
    monkeypatch.setenv("STARLINGS_SQL_DUCKDB_MEMORY", "80MB")

    counted = await ask(BIG)
    monkeypatch.setenv("STARLINGS_SQL_DUCKDB_DISK", "10MB")
    refused = (await ask(BIG, step="s2")).error

    assert counted.output["preview"] == [{"n": 1_500_000}]
    assert refused.code == "resource_exhausted"
    assert "STARLINGS_SQL_DUCKDB_DISK" in refused.message
    assert list(scratch_folder().iterdir()) == []
    assert [path.name for path in file.parent.glob("*.tmp")] == []


def test_a_folder_that_a_killed_process_left_is_removed_and_that_of_a_living_one_stays(tmp_path):
    killed, living, other = (
        tmp_path / name for name in ("starlings-sql-1", "starlings-sql-2", "x")
    )
    for folder in (killed, living, other):
        (folder / "spill").mkdir(parents=True)
    (tmp_path / "starlings-sql-3").symlink_to(other)
    lock = os.open(living, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        clear_abandoned(tmp_path)
    finally:
        os.close(lock)

    assert [folder.exists() for folder in (killed, living, other)] == [False, True, True]


async def test_a_folder_that_was_cleaned_away_is_made_anew(file):
    scratch_folder().rmdir()

    assert (await ask("SELECT 1 AS i")).error is None
    before = scratch_folder()
    clear_abandoned(before.parent)  # it is locked, also against this process
    assert before.is_dir()


async def test_a_missing_file_and_wrong_settings_are_told(file, monkeypatch):
    monkeypatch.setenv("STARLINGS_SQL_GONE_URL", f"duckdb://{file}.none")
    monkeypatch.setenv("STARLINGS_SQL_ODD_URL", "oracle://scott:tiger@host/x")
    monkeypatch.setenv("STARLINGS_SQL_DESK_URL", "duckdb:")
    monkeypatch.setenv("STARLINGS_SQL_DESK_TABLES", "orders")

    gone = (await ask("SELECT 1", name="gone")).error
    odd = (await ask("SELECT 1", name="odd", step="s2")).error
    desk = (await ask("SELECT 1", name="desk", step="s3")).error

    assert (gone.code, "STARLINGS_SQL_GONE_URL" in gone.message) == ("connection_failed", True)
    assert ("STARLINGS_SQL_ODD_URL" in odd.message, "tiger" in odd.message) == (True, False)
    assert "STARLINGS_SQL_DESK_TABLES" in desk.message


async def test_a_job_whose_connection_is_gone_fails_its_look(file):
    job = Job(key="r1/s1/1", query=Query(connection="gone", sql="SELECT 1"))
    ctx = StepContext(run_id="r1", step_id="s1", attempt=1, agent="sql")

    look = await agent.look(job.model_dump(), ctx)

    assert look.status.error.code == "unknown_connection"


async def test_many_queries_take_turns(file, monkeypatch):
    monkeypatch.setenv("STARLINGS_SQL_AT_ONCE", "1")

    done = await asyncio.gather(*(ask(f"SELECT {n} AS n", step=f"s{n}") for n in range(6)))

    assert [one.output["preview"][0]["n"] for one in done] == list(range(6))
    assert all(one.outcome is StepOutcome.OK for one in done)
