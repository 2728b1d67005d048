"""Choosing records: what headers tell is enough for most; the rest is decided by what is read."""

from __future__ import annotations

import pytest
from support.golden.records import LOGS, READER, golden_entries, golden_records, kafka_record
from support.golden.replay import read_lines
from support.golden.scenarios import SCENARIOS

from starlings.kafka.codec import CLAIM_HEADER
from starlings.messages import ConfigError
from starlings.replay.entries import Selected
from starlings.replay.selection import OUTCOMES, Selection, Verdict, step_of, tells_failure


class Records:
    """A source of given records."""

    ranges = ()

    def __init__(self, records):
        self._records = records

    async def records(self):
        for record in self._records:
            yield record


class Counting:
    """Reads records, and counts how many."""

    def __init__(self):
        self.read_records = 0

    async def read(self, record):
        self.read_records += 1
        return await READER.read(record)


def chosen(**wanted):
    return Selection(**{k: frozenset(v) if isinstance(v, list) else v for k, v in wanted.items()})


async def select(records, reader=READER, **wanted):
    selected = Selected(Records(records), chosen(**wanted), reader)
    return [record async for record in selected.records()]


def offsets(records):
    return [record.offset for record in records]


async def by_reading(name, fits):
    """Choose from a recorded log by reading all of it."""
    entries = await golden_entries(name)
    return [e.record.offset for e in entries if e.received and fits(e.received)]


@pytest.mark.parametrize("name", SCENARIOS)
async def test_what_is_chosen_by_headers_and_bytes_is_what_reading_everything_chooses(name):
    records = golden_records(name)
    for step in ("s1", "s2", "hotel", "do[1]", "ok"):
        expected = await by_reading(name, lambda r, s=step: step_of(r) == s)
        assert offsets(await select(records, steps=[step])) == expected, step
    for agent in ("math", "hotels", "human"):
        expected = await by_reading(name, lambda r, a=agent: getattr(r.message, "agent", None) == a)
        assert offsets(await select(records, agents=[agent])) == expected, agent
    for outcome in OUTCOMES:
        expected = await by_reading(
            name, lambda r, o=outcome: getattr(r.message, "outcome", None) == o
        )
        assert offsets(await select(records, outcomes=[outcome])) == expected, outcome
    assert offsets(await select(records, failed=True)) == await by_reading(
        name, lambda r: tells_failure(r.message)
    )


async def test_run_type_and_step_are_told_by_headers_and_nothing_is_read():
    reader, records = Counting(), golden_records("foreach")
    found = await select(records, reader, runs=["undoing"], types=["step_done"], steps=["do[1]"])
    assert len(found) == 1
    assert reader.read_records == 0


async def test_of_successful_steps_none_is_read_to_find_the_failed_ones():
    reader, records = Counting(), golden_records("demo")
    await select(records, reader, failed=True)
    done = sum(b"step_done" in dict(r.headers)["ce_type"] for r in records)
    assert done > 3
    assert reader.read_records == 1  # the run's end


async def test_the_word_error_in_an_output_is_no_failure():
    line = next(x for x in read_lines_of("demo") if x["headers"]["ce_id"].endswith("step_done"))
    line["value"]["output"] = "an error"
    assert await select([kafka_record(line)], failed=True) == []


def read_lines_of(name):
    return read_lines(LOGS / f"{name}.jsonl")


async def test_times_offsets_and_partitions_are_included_at_both_ends():
    records = golden_records("demo")
    at = records[3].timestamp
    assert offsets(await select(records, since_ms=at, until_ms=at)) == [3]
    assert offsets(await select(records, first=2, last=4)) == [2, 3, 4]
    assert await select(records, partitions=[1]) == []


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"types": ["step_dnoe"]}, "did you mean step_done?"),
        ({"types": ["plan-created"]}, "did you mean plan_created?"),
        ({"types": ["xyz"]}, "there are: "),
        ({"outcomes": ["complete"]}, "did you mean completed?"),
        ({"since_ms": 2, "until_ms": 1}, "--since lies after --until"),
        ({"first": 2, "last": 1}, "offsets 2..1 end before they begin"),
    ],
)
def test_what_nothing_can_fit_is_refused_and_the_nearest_is_named(wanted, said):
    with pytest.raises(ConfigError, match=said.replace("?", r"\?").replace(".", r"\.")):
        chosen(**wanted)


def test_a_type_may_be_written_as_cloudevents_has_it_and_foreign_ones_are_taken_as_they_are():
    assert chosen(types=["starlings.step_done.v1", "facts.ticket"]).types == {
        "step_done",
        "facts.ticket",
    }


async def test_foreign_messages_are_passed_over_unless_headers_alone_decide():
    foreign = kafka_record(
        {"offset": 7, "timestamp": 1, "headers": {"ce_subject": "r"}, "value": {}},
        value=b"\xff not ours",
        headers=(("ce_type", b"com.example.thing"), ("ce_subject", b"r")),
    )
    assert offsets(await select([foreign], runs=["r"])) == [7]
    assert offsets(await select([foreign], types=["com.example.thing"])) == [7]
    assert await select([foreign], agents=["math"]) == []


async def test_a_message_without_headers_is_read_and_one_that_cannot_be_is_counted():
    nothing = kafka_record(
        {"offset": 1, "timestamp": 1, "headers": {"ce_subject": "r"}, "value": {}},
        headers=(),
        value=b"{",
    )
    selected = Selected(Records([nothing]), chosen(types=["step_done"]), READER)
    assert [record async for record in selected.records()] == []
    assert selected.unreadable == 1


def test_a_value_that_lies_elsewhere_is_fetched_before_it_is_judged():
    headers = (("ce_type", b"starlings.step_done.v1"), (CLAIM_HEADER, b"1"))
    record = kafka_record(read_lines_of("demo")[0], headers=headers, value=b'{"uri":"x"}')
    assert chosen(agents=["math"]).judge(record) is Verdict.LOOK
    assert chosen(failed=True).judge(record) is Verdict.LOOK


async def test_the_run_of_work_without_a_subject_is_told_by_its_key():
    record = kafka_record(
        read_lines_of("demo")[0], topic="starlings.steps.math", key=b"demo/s1", headers=()
    )
    assert chosen(runs=["demo"]).judge(record) is Verdict.YES
    assert chosen(runs=["demo/s1"]).judge(record) is not Verdict.YES
