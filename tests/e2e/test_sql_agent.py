"""The agent `sql` on Kafka, killed in the middle of its statements: DuckDB, read and written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import psutil
import pytest
from aiokafka import TopicPartition
from support.services import Services
from support.waiting import wait_until, wait_until_sync

from starlings.messages import RunOutcome, StepDone

pytestmark = pytest.mark.kafka

SLOW = "FROM range(50_000_000) AS t(i) WHERE sin(i) > 2 OR i < 2"  # seconds of work, for two rows
TAKEOVER_S = 120  # on a machine that has much else to do


@pytest.fixture
def file(services: Services) -> Path:
    path = services.folder / "shop.duckdb"
    with duckdb.connect(str(path)) as made:
        made.execute("CREATE TABLE sold AS SELECT range AS id FROM range(5)")
    services.env["STARLINGS_SQL_SHOP_URL"] = f"duckdb://{path}"
    return path


def plan(sql: str) -> list[dict[str, Any]]:
    return [{"id": "q", "agent": "sql", "input": {"connection": "shop", "sql": sql}}]


def found(file: Path, sql: str) -> Any:
    """Look into the database; None while somebody else has it open, or has not made the table."""
    try:
        with duckdb.connect(str(file), read_only=True) as reader:
            return reader.execute(sql).fetchone()[0]
    except (duckdb.IOException, duckdb.CatalogException):
        return None


async def handle_is_kept(services: Services) -> bool:
    """Say whether the handle of a job lies on Kafka: it has been created, and goes on."""
    topic, connection = services.topics.checkpoints("sql"), services.connection()
    places = [TopicPartition(topic, number) for number in await connection.partitions(topic)]
    async with connection.reading() as consumer:
        consumer.assign(places)
        await consumer.seek_to_beginning(*places)
        ends = await consumer.end_offsets(places)
        while any([await consumer.position(place) < ends[place] for place in places]):
            batches = await consumer.getmany(timeout_ms=200)
            if any(b'"handle"' in (r.value or b"") for batch in batches.values() for r in batch):
                return True
    return False


def at_work(services: Services, agent: str, file: Path) -> bool:
    """Say whether an agent has the database open, as it does only while a statement runs."""
    opened = psutil.Process(services.pid(agent)).open_files()
    return str(file) in {each.path for each in opened}


async def killed_and_taken_over(
    services: Services, sql: str, *, when: Callable[[str], Any], then: Callable[[], Any]
) -> tuple[StepDone, list[StepDone]]:
    """Kill the agent once its job is created and `when` holds; then let another one go on."""
    services.start("coordinator", "planner")
    (agent,) = services.start("sql", env={"STARLINGS_INSTANCE": "killed"})
    async with services.client() as client:
        run = await client.submit(plan=plan(sql), run_id="r1")
        await wait_until(
            lambda: handle_is_kept(services), timeout_s=60, message="the handle is kept"
        )
        wait_until_sync(lambda: when(agent), timeout_s=TAKEOVER_S, message="it has come that far")
        services.kill(agent)
        then()
        services.start("sql", env={"STARLINGS_INSTANCE": "next"})
        ended = await run.result(timeout_s=TAKEOVER_S)
        assert ended.outcome is RunOutcome.COMPLETED, ended.text
        told = [fact async for fact in run.facts() if isinstance(fact, StepDone)]
    return told[0], told


async def test_a_statement_that_reads_is_begun_anew_by_the_next_instance(services, file):
    first, told = await killed_and_taken_over(
        services,
        f"SELECT count(*) AS n {SLOW}",
        when=lambda agent: at_work(services, agent, file),
        then=lambda: None,
    )

    assert (first.attempt, first.output["preview"], len(told)) == (1, [{"n": 2}], 1)
    assert first.instance == "next"  # the killed one has not come to the end
    assert found(file, "SELECT count(*) FROM sold") == 5


async def test_a_statement_that_writes_and_is_cut_off_takes_effect_once(services, file):
    services.env["STARLINGS_SQL_SHOP_WRITABLE"] = "true"
    before: list[Any] = []
    first, told = await killed_and_taken_over(
        services,
        f"INSERT INTO sold SELECT i {SLOW}",
        when=lambda agent: at_work(services, agent, file),
        then=lambda: before.append(found(file, "SELECT count(*) FROM sold")),
    )
    assert (before, first.instance) == ([5], "next")  # it was cut off

    assert (first.output["affected"], {each.attempt for each in told}) == (2, {first.attempt})
    assert found(file, "SELECT count(*) FROM sold") == 7
    assert found(file, "SELECT count(*) FROM starlings_statements WHERE output IS NOT NULL") == 1


async def test_a_statement_that_has_taken_effect_is_not_repeated_by_the_next_instance(
    services, file
):
    services.env["STARLINGS_SQL_SHOP_WRITABLE"] = "true"
    first, _ = await killed_and_taken_over(
        services,
        "INSERT INTO sold VALUES (100)",
        when=lambda _agent: found(file, "SELECT count(*) FROM starlings_statements"),
        then=lambda: None,
    )

    assert first.output["affected"] == 1
    assert found(file, "SELECT count(*) FROM sold") == 6
