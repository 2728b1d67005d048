"""What caused what: a forest of whatever a log holds."""

from __future__ import annotations

import pytest
from support.golden.records import READER, golden_entries, golden_records, kafka_record
from support.golden.scenarios import SCENARIOS

from starlings.replay.causes import forest, rows


def way(nodes, ident):
    """Name what led to a message, the beginning first."""
    found = next(r.node for r in rows(nodes) if r.node.id == ident and not r.node.is_repeat)
    names = []
    while found is not None:
        names.insert(0, found.id.partition("/")[2])
        found = found.parent
    return names


@pytest.mark.parametrize("name", SCENARIOS)
async def test_every_record_stands_in_the_tree_once_after_its_cause(name):
    entries = await golden_entries(name)
    drawn = list(rows(forest(entries)))
    assert sorted(r.node.entry.record.offset for r in drawn if r.node.entry) == list(
        range(len(entries))
    )
    places = {id(r.node): at for at, r in enumerate(drawn)}
    for row in drawn:
        if row.node.parent is not None:
            assert places[id(row.node.parent)] < places[id(row.node)]


async def test_a_run_without_causes_in_its_messages_is_linked_by_what_the_core_decided():
    nodes = forest(await golden_entries("demo"))
    assert way(nodes, "demo/run_done") == [
        "plan_created",
        "s1/1/step_ready",
        "s1/1/step_done",
        "s3/1/step_ready",
        "s3/1/step_done",
        "run_done",
    ]


async def test_undoing_is_linked_to_what_failed():
    nodes = forest(await golden_entries("saga"))
    assert way(nodes, "saga/run_done")[2:] == [
        "flight/1/step_done",
        "hotel/1/step_ready",
        next(w for w in way(nodes, "saga/run_done") if "timer_fired/run" in w),
        "car/1/compensation_ready/1",
        "car/1/compensation_done/1",
        next(w for w in way(nodes, "saga/run_done") if "undo_retry" in w),
        "car/1/compensation_ready/2",
        "car/1/compensation_done/2",
        "flight/1/compensation_ready/1",
        "flight/1/compensation_done/1",
        "run_done",
    ]


async def test_a_repeat_hangs_on_what_it_repeats():
    drawn = rows(forest(await golden_entries("demo")))
    (repeat,) = (row.node for row in drawn if row.node.is_repeat and "s1" in row.node.id)
    assert repeat.parent.id == repeat.id


async def entry(offset, ident, cause=None):
    headers = [("ce_id", ident.encode()), ("ce_subject", b"r"), ("ce_type", b"com.x.y")]
    if cause:
        headers.append(("ce_causationid", cause.encode()))
    line = {"offset": offset, "timestamp": offset, "headers": {"ce_subject": "r"}, "value": {}}
    return await READER.read(kafka_record(line, headers=tuple(headers)))


async def test_causes_in_a_circle_and_of_itself_end_nowhere():
    entries = [
        await entry(0, "a", "b"),
        await entry(1, "b", "c"),
        await entry(2, "c", "a"),
        await entry(3, "d", "d"),
    ]
    drawn = list(rows(forest(entries)))
    assert sorted(row.node.id for row in drawn) == ["a", "b", "c", "d"]


async def test_a_cause_that_was_not_read_stands_in_the_tree_and_holds_its_consequences():
    nodes = forest([await entry(0, "a", "elsewhere"), await entry(1, "b", "elsewhere")])
    (root,) = nodes
    assert root.entry is None
    assert [child.id for child in root.children] == ["a", "b"]


async def test_a_chain_of_thousands_needs_one_column():
    entries = [await entry(n, f"m{n}", f"m{n - 1}" if n else None) for n in range(5_000)]
    drawn = list(rows(forest(entries)))
    assert len(drawn) == 5_000
    assert {row.column for row in drawn} == {0}


async def test_the_columns_are_few_however_the_forest_grows():
    entries = [await entry(n, f"m{n}", f"m{(n - 1) // 2}" if n else None) for n in range(1_023)]
    assert max(row.column for row in rows(forest(entries))) <= 10


def test_a_log_of_nothing_is_a_forest_of_nothing():
    assert list(rows(forest([]))) == []
    assert golden_records("demo")
