"""The agent `sql` on a real PostgreSQL."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import tracemalloc
import uuid
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
from support.agents import ready
from support.model_server import model_server
from support.postgres import PASSWORD, running_postgres
from support.queries import ask, pause, refused_each_time, rows
from support.waiting import wait_until

from starlings.agents.execute import execute
from starlings.agents.models import AgentModels
from starlings.blobs import BlobStore
from starlings_agents.sql import _begin, agent, delete
from starlings_agents.sql.query import Job, Query
from starlings_agents.sql.running import executions
from starlings_agents.sql.settings import connection
from starlings_agents.sql_ask import agent as sql_ask

SLEEP = {"connection": "shop", "sql": "SELECT pg_sleep(600)"}
RUNNING = """SELECT count(*) FROM pg_stat_activity
WHERE query LIKE '%pg_sleep(600)%' AND pid <> pg_backend_pid()"""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with running_postgres() as address:
        yield address


@pytest.fixture
async def owner(server: str) -> AsyncIterator[asyncpg.Connection]:
    """A superuser's own session, to look at what there is."""
    session = await asyncpg.connect(server)
    yield session
    await session.close()


@pytest.fixture
async def blobs(
    server: str, owner: asyncpg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> BlobStore:
    role = f"r{uuid.uuid4().hex[:8]}"
    for statement in (
        f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'",
        f"GRANT ALL ON SCHEMA public TO {role}",
        "DROP TABLE IF EXISTS sold, starlings_statements",
        "CREATE TABLE sold AS SELECT i AS id, 'item ' || i AS name FROM generate_series(0, 4) i",
        f"ALTER TABLE sold OWNER TO {role}",
    ):
        await owner.execute(statement)
    monkeypatch.setenv("STARLINGS_SQL_SHOP_URL", server.replace("//postgres:", f"//{role}:"))
    url = (tmp_path / "blobs").as_uri()
    monkeypatch.setenv("STARLINGS_BLOBS_URL", url)
    return BlobStore(url)


async def test_rows_of_all_types_come_as_a_table(blobs, tmp_path):
    done = await ask(
        "SELECT 1.50::numeric AS d, 12345678901234567890.123::numeric AS d2, 'NaN'::numeric AS d3,"
        " DATE '2030-05-01' AS day, TIMESTAMPTZ '2030-05-01 10:00+02' AS at, 'ab'::bytea AS b,"
        " ARRAY[1, 2] AS l, '{\"a\": [1]}'::jsonb AS j, NULL::int AS n, true AS t,"
        " gen_random_uuid() AS u, '' AS e, INTERVAL '3 days' AS i, 5::bigint AS d"
    )

    (row,) = await rows(done, blobs, tmp_path)
    assert row[:4] == (
        Decimal("1.50"), Decimal("12345678901234567890.123"), "NaN", dt.date(2030, 5, 1),
    )  # fmt: skip
    assert row[4] == dt.datetime(2030, 5, 1, 8, tzinfo=dt.UTC)
    assert row[5:10] == (b"ab", "[1,2]", '{"a": [1]}', None, True)
    assert (row[11], row[13]) == ("", 5)
    assert [c["type"] for c in done.output["columns"][:2]] == ["DECIMAL(3,2)", "DECIMAL(23,3)"]
    assert done.output["columns"][-1] == {"name": "d_2", "type": "BIGINT"}


async def test_parameters_are_bound_with_their_types(blobs):
    sql = (
        "SELECT name, $2::date AS day, $3::numeric AS n, $4::jsonb AS j, $5::text AS said,"
        " $6::timestamptz AS at FROM sold WHERE id = $1"
    )
    evil = "'; DROP TABLE sold; --"
    values = [3, "2030-05-01", "1.5", {"a": 1}, evil, "2030-05-01T10:00:00Z"]

    done = await ask(sql, params=values)
    wrong = await ask("SELECT $1::date", step="s2", params=["tomorrow"])
    few = await ask(sql, step="s3", params=[])

    (row,) = done.output["preview"]
    assert (row["name"], row["day"], row["n"], row["said"]) == ("item 3", "2030-05-01", "1.5", evil)
    assert (wrong.error.code, few.error.code) == ("input_invalid", "input_invalid")
    assert "$1 has to be a date" in wrong.error.message
    assert "takes 6 parameters, and 0 are given" in few.error.message


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("INSERT INTO sold VALUES (9, 'x')", "read_only"),
        ("WITH x AS (DELETE FROM sold RETURNING id) SELECT * FROM x", "read_only"),
        ("CREATE TABLE other (i int)", "read_only"),
        ("SET TRANSACTION READ WRITE", "query_failed"),
        ("DO $$ BEGIN SET TRANSACTION READ WRITE; DELETE FROM sold; END $$", "query_failed"),
        ("DO $$ BEGIN PERFORM set_config('transaction_read_only', 'off', false); END $$",
         "query_failed"),
        ("DO $$ BEGIN COMMIT; DELETE FROM sold; END $$", "query_failed"),
        ("COPY sold TO PROGRAM 'touch /tmp/starlings-was-here'", "not_permitted"),
        ("SELECT pg_read_file('/etc/passwd')", "not_permitted"),
        ("SELECT 1; DELETE FROM sold", "query_failed"),
        ("COMMIT; DELETE FROM sold", "input_invalid"),
        ("SELECT nothing FROM sold", "query_failed"),
    ],
)  # fmt: skip
async def test_what_only_reads_is_held_to_it_by_the_database(blobs, owner, sql, code):
    error = (await ask(sql)).error

    assert (error.code, error.retryable) == (code, False)
    assert await owner.fetchval("SELECT count(*) FROM sold") == 5


async def test_a_role_that_postgresql_does_not_hold_back_is_refused(blobs, server, monkeypatch):
    monkeypatch.setenv("STARLINGS_SQL_SHOP_URL", server)

    error = (await ask("SELECT 1")).error

    assert (error.code, error.retryable) == ("role_too_powerful", False)
    assert "STARLINGS_SQL_SHOP_URL" in error.message


@pytest.mark.parametrize("powerful", ["postgres", "pg_execute_server_program"])
async def test_a_role_that_can_become_a_powerful_one_is_refused(blobs, owner, tmp_path, powerful):
    role = urlsplit(os.environ["STARLINGS_SQL_SHOP_URL"]).username
    await owner.execute(f"CREATE ROLE between_{role}")
    await owner.execute(f"GRANT {powerful} TO between_{role}")
    await owner.execute(f"GRANT between_{role} TO {role}")
    written = tmp_path / "written"
    program = f"COPY (SELECT 1) TO PROGRAM 'touch {written}'"

    error = (await ask(f"DO $do$ BEGIN SET ROLE {powerful}; {program}; END $do$")).error

    assert (error.code, written.exists()) == ("role_too_powerful", False)


async def test_ten_million_rows_are_an_error_that_comes_early(blobs):
    done = await ask("SELECT i FROM generate_series(1, 10000000) i", max_rows=3_000)
    first = await ask(
        "SELECT i FROM generate_series(1, 10000000) i", step="s2", max_rows=3, on_more="truncate"
    )

    assert done.error.code == "too_many_rows"
    assert (first.output["row_count"], first.output["truncated"]) == (3, True)


async def test_wide_rows_are_not_all_held_at_once_and_all_come_in_order(blobs, tmp_path):
    wide = "SELECT i, repeat(md5(i::text), 15625) AS wide FROM generate_series(1, 200) i"
    tracemalloc.start()
    try:
        done = await ask(wide)
        held = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert held < 70_000_000  # of 100 MB, each of which is here twice
    assert [row[0] for row in await rows(done, blobs, tmp_path)] == list(range(1, 201))


async def test_more_rows_than_one_fetch_are_all_there(blobs, tmp_path):
    done = await ask("SELECT i, i * 2 AS twice FROM generate_series(1, 30000) i")

    found = await rows(done, blobs, tmp_path)
    assert (len(found), found[-1], len(done.output["preview"])) == (30_000, (30_000, 60_000), 20)


async def test_a_cancelled_query_is_ended_on_the_server(blobs, owner):
    working = asyncio.create_task(
        execute(agent, ready(agent="sql", task="", input=SLEEP), pause=pause)
    )
    await until(owner, 1)

    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    await delete(Job(key="r1/s1/1", query=Query(**SLEEP)))

    await until(owner, 0)


async def test_a_query_of_an_instance_that_died_is_found_and_ended(blobs, owner):
    job = Job(key="r1/s1/1", query=Query(**SLEEP))
    url = connection("shop").url
    dead = await asyncpg.connect(url, server_settings={"application_name": job.name})
    doing = asyncio.ensure_future(dead.execute(SLEEP["sql"]))
    await until(owner, 1)

    await delete(job)

    with pytest.raises(asyncpg.QueryCanceledError):
        await doing
    await dead.close()


async def test_whoever_takes_a_query_over_ends_the_predecessors(blobs, owner):
    job = Job(key="r1/s1/1", query=Query(connection="shop", sql="SELECT 1 AS n"))
    url = connection("shop").url
    old = await asyncpg.connect(url, server_settings={"application_name": job.name})
    doing = asyncio.ensure_future(old.execute(SLEEP["sql"]))
    await until(owner, 1)

    done = await ask("SELECT 1 AS n")

    assert done.output["preview"] == [{"n": 1}]
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, ConnectionError)):
        await doing


async def until(owner: asyncpg.Connection, count: int) -> None:
    for _ in range(1_000):
        if await owner.fetchval(RUNNING) == count:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"there are never {count} of them")


async def test_a_statement_that_takes_too_long_is_ended(blobs, owner):
    error = (await ask(SLEEP["sql"], timeout_s=0.3)).error

    assert (error.code, error.retryable) == ("query_timeout", False)
    await until(owner, 0)


async def test_a_writable_connection_writes_once_for_an_attempt(blobs, owner, monkeypatch):
    monkeypatch.setenv("STARLINGS_SQL_SHOP_WRITABLE", "true")
    insert = "INSERT INTO sold SELECT 9, 'new' RETURNING name"

    first = await ask(insert)
    await executions(1).end("r1/s1/1")  # the process that knew of it is gone
    again = await ask(insert)
    changed = await ask("UPDATE sold SET name = 'old'", step="s2")

    assert first.output == again.output
    assert first.output["preview"] == [{"name": "new"}]
    assert (changed.output["affected"], changed.output["table"]) == (6, None)
    assert await owner.fetchval("SELECT count(*) FROM sold") == 6


@pytest.mark.parametrize(
    "sql",
    [
        "COMMIT",
        "-- so\n;; /* a /* b */ c */ rollback",
        "END",
        "ABORT",
        "START TRANSACTION",
        "SAVEPOINT here",
        "PREPARE/**/TRANSACTION 'here'",
        "COMMIT AND CHAIN",
    ],
)
async def test_a_statement_that_ends_the_transaction_is_refused_each_time(blobs, monkeypatch, sql):
    monkeypatch.setenv("STARLINGS_SQL_SHOP_WRITABLE", "true")

    await refused_each_time(sql)


async def test_a_statement_that_only_looks_like_the_end_of_a_transaction_runs(blobs, monkeypatch):
    monkeypatch.setenv("STARLINGS_SQL_SHOP_WRITABLE", "true")

    done = await ask("/* COMMIT */ SELECT 1 AS rollback")

    assert done.output["preview"] == [{"rollback": 1}]


async def test_two_instances_that_write_for_one_attempt_write_once(blobs, owner, monkeypatch):
    monkeypatch.setenv("STARLINGS_SQL_SHOP_WRITABLE", "true")
    monkeypatch.setenv("STARLINGS_SQL_AT_ONCE", "8")
    job = Job(
        key="r1/s1/1",
        query=Query(connection="shop", sql="INSERT INTO sold SELECT 9, 'new' FROM pg_sleep(0.3)"),
    )
    one = _begin(job)
    executions(8)._at_work.clear()
    other = _begin(job)
    await asyncio.wait([one.task, other.task])

    assert one.status.output == other.status.output
    assert await owner.fetchval("SELECT count(*) FROM sold") == 6


async def test_a_write_whose_connection_is_lost_goes_on_under_its_key(blobs, owner, monkeypatch):
    monkeypatch.setenv("STARLINGS_SQL_SHOP_WRITABLE", "true")
    asking = asyncio.create_task(ask("INSERT INTO sold SELECT 9, 'new' FROM pg_sleep(1.5)"))
    at_work = """FROM pg_stat_activity WHERE query LIKE '%pg_sleep(1.5)%' AND state = 'active'
        AND pid <> pg_backend_pid()"""

    async def is_ended() -> bool:
        return await owner.fetchval(f"SELECT pg_terminate_backend(pid) {at_work}") is True

    await wait_until(is_ended, timeout_s=60, message="the first session is ended")
    done = await asking

    assert (done.error, done.output["affected"]) == (None, 1)
    assert await owner.fetchval("SELECT count(*) FROM sold") == 6


async def test_secrets_are_in_no_error(blobs, server, monkeypatch):
    wrong = server.replace("//postgres:pass%2Fword%204711", "//nobody:hush%2Fhush")
    monkeypatch.setenv("STARLINGS_SQL_SHOP_URL", wrong)
    refused = (await ask("SELECT 1")).error
    monkeypatch.setenv("STARLINGS_SQL_SHOP_URL", "postgresql://u:hush%2Fhush@127.0.0.1:1/x")
    away = (await ask("SELECT 1", step="s2")).error

    for error in (refused, away):
        assert (error.code, error.retryable) == ("connection_failed", True)
        assert "STARLINGS_SQL_SHOP_URL" in error.message
        assert "hush" not in error.model_dump_json()


async def test_what_a_query_says_of_its_own_address_is_freed_of_the_password(blobs, monkeypatch):
    sql = f"SELECT ('{PASSWORD}')::int"

    error = (await ask(sql)).error

    assert error.code == "query_failed"
    assert PASSWORD not in error.message


async def test_questions_in_words_only_read_and_see_what_the_role_may_see(
    blobs, owner, tmp_path, monkeypatch
):
    await owner.execute("CREATE TABLE IF NOT EXISTS secret_wages (amount int)")
    monkeypatch.setenv("STARLINGS_SQL_SHOP_WRITABLE", "true")
    with model_server() as model:
        monkeypatch.setenv("OPENAI_BASE_URL", model.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-x")
        model.replies(
            '{"sql": "DELETE FROM sold", "cannot": null}',
            '{"sql": "SELECT count(*) AS sold FROM sold", "cannot": null}',
        )
        step = ready(agent="sql_ask", task="How many?", input={"connection": "shop"})
        async with AgentModels() as models:
            done = await execute(sql_ask, step, model=models.of(sql_ask))
    assert done.error is None, done.error
    assert await rows(done, blobs, tmp_path) == [(5,)]
    said = [request["messages"][-1]["content"] for request in model.requests]
    assert '"columns": ["id integer", "name text"]' in said[0]
    assert "secret_wages" not in said[0]
    assert "only reads" in said[1]
    assert PASSWORD not in "".join(said)
