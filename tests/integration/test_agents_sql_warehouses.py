"""The agent `sql` on BigQuery and Snowflake: exchanges as their APIs document them, over HTTP."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from support.exchanges import Exchanges, played
from support.queries import ask, blob_store, rows
from support.waiting import wait_until

from starlings.blobs import BlobStore
from starlings_agents.sql import delete, google
from starlings_agents.sql.query import Job, Query
from starlings_agents.sql.running import executions

NAME = Job(key="r1/s1/1", query=Query(connection="wh", sql="x")).name
JOBS = "/bigquery/v2/projects/proj/jobs"
RESULTS = f"/bigquery/v2/projects/proj/queries/{NAME}"
CANCEL = f"{JOBS}/{NAME}/cancel?location=EU"
READS = {"statistics": {"query": {"statementType": "SELECT"}}}
REQUEST = str(uuid.uuid5(uuid.NAMESPACE_URL, "starlings:r1/s1/1"))
SUBMIT = f"/api/v2/statements?requestId={REQUEST}&retry=true&async=true"

Play = Callable[..., Exchanges]


@pytest.fixture
def blobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BlobStore:
    monkeypatch.setenv("STARLINGS_SQL_WH_TOKEN", "hush-4711")
    return blob_store(tmp_path, monkeypatch)


@pytest.fixture
def server(blobs: BlobStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[Play]:
    with ExitStack() as stack:

        def play(address: str, *recorded: dict[str, Any]) -> Exchanges:
            exchanges = stack.enter_context(played(list(recorded), upstream=None))
            monkeypatch.setenv("STARLINGS_SQL_WH_URL", f"{address}&endpoint={exchanges.url}")
            return exchanges

        yield play


def answer(method: str, path: str, status: int, value: Any) -> dict[str, Any]:
    return {"method": method, "path": path, "status": status, "json": value}


def page(status: int, value: Any, **more: str) -> dict[str, Any]:
    query = {"location": "EU", "timeoutMs": 10_000, "maxResults": 10_000}
    query["formatOptions.useInt64Timestamp"] = "true"
    return answer("GET", str(httpx.URL(RESULTS, params={**query, **more})), status, value)


BIG = "bigquery://proj/shop?location=EU"
FIELDS = [
    {"name": "i", "type": "INTEGER"}, {"name": "n", "type": "NUMERIC"},
    {"name": "t", "type": "TIMESTAMP"}, {"name": "b", "type": "BYTES"},
    {"name": "l", "type": "INTEGER", "mode": "REPEATED"}, {"name": "ok", "type": "BOOLEAN"},
    {"name": "none", "type": "STRING"}, {"name": "at", "type": "DATETIME"},
]  # fmt: skip
ROW = ["7", "1.50", "1893456000000000", "YWI=", [{"v": "1"}], "true", None, "2030-01-01T10:00:00"]


def as_row(values: list[Any]) -> dict[str, Any]:
    return {"f": [{"v": value} for value in values]}


async def test_bigquery_runs_a_job_named_after_the_attempt_and_reads_all_pages(
    server, blobs, tmp_path
):
    first = {"jobComplete": True, "schema": {"fields": FIELDS}, "pageToken": "p2"}
    exchanges = server(
        BIG,
        answer("POST", JOBS, 200, READS),
        answer("POST", JOBS, 200, {}),
        page(200, {"jobComplete": False}),
        page(200, {**first, "rows": [as_row(ROW)]}),
        page(200, {**first, "rows": [as_row(ROW)], "pageToken": ""}, pageToken="p2"),
    )

    done = await ask("SELECT * FROM t WHERE x = ? AND y = ?", name="wh", params=[1.5, "a"])

    found = await rows(done, blobs, tmp_path)
    assert len(found) == 2
    assert found[0][:2] == (7, Decimal("1.50"))
    assert found[0][2] == dt.datetime(2030, 1, 1, tzinfo=dt.UTC)
    assert found[0][3:7] == (b"ab", '[{"v":"1"}]', True, None)
    dry, job = (body for method, path, body in exchanges.asked if method == "POST")
    assert dry["configuration"]["dryRun"] is True
    assert job["jobReference"] == {"projectId": "proj", "jobId": NAME, "location": "EU"}
    query = job["configuration"]["query"]
    assert query["defaultDataset"] == {"projectId": "proj", "datasetId": "shop"}
    assert [p["parameterType"]["type"] for p in query["queryParameters"]] == ["FLOAT64", "STRING"]
    assert [p["parameterValue"]["value"] for p in query["queryParameters"]] == ["1.5", "a"]


async def test_a_job_that_another_instance_has_submitted_is_gone_on_with(server):
    duplicate = {"error": {"code": 409, "message": "Already Exists: Job"}}
    server(
        BIG,
        answer("POST", JOBS, 200, READS),
        answer("POST", JOBS, 409, duplicate),
        page(200, {"jobComplete": True, "schema": {"fields": FIELDS[:1]}, "rows": []}),
    )

    assert (await ask("SELECT 1", name="wh")).output["row_count"] == 0


async def test_bigquery_says_itself_what_writes(server):
    writes = {"statistics": {"query": {"statementType": "DELETE"}}}
    exchanges = server(BIG, answer("POST", JOBS, 200, writes))

    error = (await ask("DELETE FROM t WHERE true", name="wh")).error

    assert (error.code, "DELETE" in error.message) == ("read_only", True)
    assert len(exchanges.asked) == 1  # nothing but the question


async def test_what_writes_on_a_writable_connection_tells_how_many_rows(server, monkeypatch):
    monkeypatch.setenv("STARLINGS_SQL_WH_WRITABLE", "true")
    server(
        BIG,
        answer("POST", JOBS, 200, {}),
        page(200, {"jobComplete": True, "numDmlAffectedRows": "3"}),
    )

    assert (await ask("DELETE FROM t WHERE true", name="wh")).output["affected"] == 3


@pytest.mark.parametrize(
    ("status", "code", "retryable"),
    [(400, "query_failed", False), (403, "not_permitted", False)],
)
async def test_what_bigquery_refuses_is_quoted_without_secrets(server, status, code, retryable):
    told = {"error": {"code": status, "message": "Syntax error near hush-4711"}}
    server(BIG, answer("POST", JOBS, status, told))

    error = (await ask("SELEC", name="wh")).error

    assert (error.code, error.retryable) == (code, retryable)
    assert "Syntax error near ***" in error.message
    assert "hush-4711" not in error.model_dump_json()


async def test_a_server_that_is_busy_is_asked_again(server):
    server(
        BIG,
        answer("POST", JOBS, 503, {}),
        answer("POST", JOBS, 200, READS),
        answer("POST", JOBS, 200, {}),
        page(200, {"jobComplete": True, "schema": {"fields": FIELDS[:1]}, "rows": []}),
    )

    assert (await ask("SELECT 1", name="wh")).error is None


async def test_a_cancelled_bigquery_job_is_cancelled_by_its_id(server):
    exchanges = server(
        BIG, answer("POST", JOBS, 200, READS), page(200, {"jobComplete": False}),
        answer("POST", CANCEL, 200, {}),
    )  # fmt: skip
    working = asyncio.create_task(ask("SELECT 1", name="wh"))
    await wait_until(lambda: exchanges.count("GET", RESULTS) > 1, message="it is looked at")

    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    await delete(Job(key="r1/s1/1", query=Query(connection="wh", sql="SELECT 1")))

    assert exchanges.count("POST", CANCEL) == 2


async def test_a_service_account_signs_for_its_token(server, tmp_path, monkeypatch):
    key = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    exchanges = server(
        BIG,
        answer("POST", "/token", 200, {"access_token": "t1", "expires_in": 3_600}),
        answer("POST", JOBS, 200, READS),
        page(200, {"jobComplete": True, "schema": {"fields": FIELDS[:1]}, "rows": []}),
    )
    account = {"client_email": "a@b", "token_uri": f"{exchanges.url}/token"}
    (tmp_path / "key.json").write_text(json.dumps({**account, "private_key": pem.decode()}))
    monkeypatch.delenv("STARLINGS_SQL_WH_TOKEN")
    monkeypatch.setenv("STARLINGS_SQL_WH_KEY_FILE", str(tmp_path / "key.json"))
    monkeypatch.setattr(google, "_known", {})

    done = await ask("SELECT 1", name="wh")

    assert done.error is None
    form = httpx.QueryParams(exchanges.asked[0][2].decode())
    signed, _, signature = form["assertion"].rpartition(".")
    raw = base64.urlsafe_b64decode(signature + "==")
    key.public_key().verify(raw, signed.encode(), padding.PKCS1v15(), hashes.SHA256())
    assert exchanges.count("POST", "/token") == 1


SNOW = "snowflake://acc/db/public?warehouse=w&role=reader"
SNOW_TYPES = [
    {"name": "I", "type": "fixed", "precision": 10, "scale": 0},
    {"name": "N", "type": "fixed", "precision": 38, "scale": 2},
    {"name": "D", "type": "date"}, {"name": "T", "type": "timestamp_ntz"},
    {"name": "Z", "type": "timestamp_tz"}, {"name": "B", "type": "binary"},
    {"name": "V", "type": "variant"}, {"name": "E", "type": "text"},
    {"name": "O", "type": "boolean"}, {"name": "C", "type": "time"},
]  # fmt: skip
SNOW_ROW = [
    "7", "1.50", "21915", "1893456000.123456789", "1893456000.000000000 1560", "6162",
    '{"a": 1}', None, "true", "36000.500000000",
]  # fmt: skip


def told(*rows: list[Any], partitions: int = 1) -> dict[str, Any]:
    info = [{"rowCount": 1}] * partitions
    meta = {"rowType": SNOW_TYPES, "partitionInfo": info}
    return {"statementHandle": "h1", "resultSetMetaData": meta, "data": list(rows)}


async def test_snowflake_is_asked_under_the_attempts_id_and_read_by_partitions(
    server, blobs, tmp_path
):
    exchanges = server(
        SNOW,
        answer("POST", SUBMIT, 202, {"statementHandle": "h1"}),
        answer("GET", "/api/v2/statements/h1", 202, {"statementHandle": "h1"}),
        answer("GET", "/api/v2/statements/h1", 200, told(SNOW_ROW, partitions=2)),
        answer("GET", "/api/v2/statements/h1?partition=1", 200, {"data": [SNOW_ROW]}),
    )

    done = await ask("SELECT * FROM t WHERE i = ? AND b = ?", name="wh", params=[7, True])

    found = await rows(done, blobs, tmp_path)
    assert len(found) == 2
    assert found[0][:3] == (7, Decimal("1.50"), dt.date(2030, 1, 1))
    assert found[0][3] == dt.datetime(2030, 1, 1, 0, 0, 0, 123456)  # noqa: DTZ001 - it has no zone
    assert found[0][4] == dt.datetime(2030, 1, 1, tzinfo=dt.UTC)
    assert found[0][5:10] == (b"ab", '{"a": 1}', None, True, dt.time(10, 0, 0, 500_000))
    body = exchanges.asked[0][2]
    assert (body["role"], body["warehouse"], body["database"]) == ("reader", "w", "db")
    assert body["bindings"] == {
        "1": {"type": "FIXED", "value": "7"}, "2": {"type": "BOOLEAN", "value": "true"},
    }  # fmt: skip


async def test_what_snowflake_refuses_is_told(server):
    denied = {"code": "003001", "sqlState": "42501", "message": "Insufficient privileges"}
    server(SNOW, answer("POST", SUBMIT, 422, denied))

    error = (await ask("DELETE FROM t", name="wh")).error

    assert (error.code, error.retryable) == ("not_permitted", False)
    assert "Insufficient privileges (003001)" in error.message


async def test_a_snowflake_connection_that_reads_names_its_role(server):
    exchanges = server("snowflake://acc/db?warehouse=w")

    error = (await ask("SELECT 1", name="wh")).error

    assert "names no role" in error.message
    assert exchanges.asked == []


async def test_rows_that_snowflake_changed_are_counted(server, monkeypatch):
    monkeypatch.setenv("STARLINGS_SQL_WH_WRITABLE", "true")
    stats = {"numRowsInserted": 2, "numRowsUpdated": 1, "numRowsDeleted": 0}
    server(SNOW, answer("POST", SUBMIT, 200, {**told(), "stats": stats}))

    assert (await ask("MERGE INTO t …", name="wh")).output["affected"] == 3


async def test_a_cancelled_snowflake_statement_is_cancelled_by_its_handle(server, monkeypatch):
    running = {"statementHandle": "h1"}
    exchanges = server(
        SNOW,
        answer("POST", SUBMIT, 202, running),
        answer("GET", "/api/v2/statements/h1", 202, running),
        answer("POST", "/api/v2/statements/h1/cancel", 200, {}),
    )
    job = Job(key="r1/s1/1", query=Query(connection="wh", sql="SELECT 1"))
    working = asyncio.create_task(ask("SELECT 1", name="wh"))
    await wait_until(lambda: exchanges.count("GET", "/h1") > 1, message="it is looked at")

    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    await delete(job)  # by another instance: it asks under the same id for the handle
    monkeypatch.setenv("STARLINGS_SQL_WH_WRITABLE", "true")
    await delete(job)  # what writes is not submitted in order to be ended

    assert exchanges.count("POST", "/h1/cancel") == 2
    assert exchanges.count("POST", "requestId") == 2
    assert executions(1).find(job.key) is None


async def test_a_warehouse_that_is_away_may_be_back_later(blobs, monkeypatch):
    monkeypatch.setenv("STARLINGS_SQL_WH_URL", f"{SNOW}&endpoint=http://127.0.0.1:1")

    error = (await ask("SELECT 1", name="wh")).error

    assert (error.code, error.retryable) == ("connection_failed", True)
    assert "STARLINGS_SQL_WH_URL" in error.message
