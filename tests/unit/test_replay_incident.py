"""An incident as a test: what is as it was passes, what is otherwise is shown."""

from __future__ import annotations

import json

import pytest
from aiokafka import ConsumerRecord
from support.incident_files import fact, golden_incident, of, wrote

from starlings import Agent, StepContext
from starlings.blobs import BlobStore
from starlings.messages import ConfigError
from starlings.replay.incident import IncidentUnusable
from starlings.testing import replay_incident
from starlings.testing.incident import IncidentReplay

WORDS = {"s1": 50, "s2": 2, "s3": 100}


def agent(name, answers=WORDS):
    made = Agent(name, description="Says what it has to")

    @made.step
    async def work(ctx: StepContext) -> int:
        return answers[ctx.step_id]

    return made


@pytest.fixture
async def demo(tmp_path):
    return await golden_incident(tmp_path)


def changed(path, change):
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines = change(lines) or lines
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_a_run_that_is_decided_as_it_was_and_whose_steps_do_the_same_passes(demo):
    replayed = replay_incident(demo, agents=[agent("math"), agent("string")])
    assert replayed.run_id == "demo"
    assert replayed.decisions >= 3
    assert sorted(replayed.attempts) == ["s1/1", "s2/1", "s3/1"]
    assert replayed.left == {}


async def test_it_may_be_called_within_an_event_loop(demo):
    assert replay_incident(demo, agents=[agent("math")]).left == {
        "s2/1": "the agent string was not given"
    }


def test_a_step_that_does_something_else_is_shown_with_both_sides(demo):
    wrong = agent("math", {"s1": 50, "s3": 101})
    with pytest.raises(AssertionError, match="attempt s3/1 of run demo") as raised:
        replay_incident(demo, agents=[wrong])
    assert "-100\n" in f"{raised.value}\n"
    assert "+101\n" in f"{raised.value}\n"
    assert replay_incident(demo, agents=[wrong], steps=["s1"]).attempts == ["s1/1"]
    with pytest.raises(ConfigError, match="no attempt of step 's9'; it has s1, s2, s3"):
        replay_incident(demo, steps=["s9"])


async def test_a_run_that_is_decided_otherwise_is_shown_with_both_sides(tmp_path):
    altered = await golden_incident(tmp_path, "altered")
    with pytest.raises(AssertionError, match="run demo is decided otherwise today") as raised:
        replay_incident(altered)
    assert "50" in str(raised.value)
    assert "51" in str(raised.value)


def test_foreign_messages_and_repeats_change_nothing(demo):
    foreign = {
        "topic": "t.events", "partition": 0, "timestamp_ms": 1_790_000_000_000, "key": "other",
        "headers": {"ce_type": "com.example.order.v7"}, "value": {"run_id": "other"},
    }  # fmt: skip

    def mix(lines):
        body = lines[1:-1]
        last = max(x["offset"] for x in body if x["topic"] == "t.events")
        more = [
            {**foreign, "offset": last + 1},
            {**foreign, "offset": last + 2, "value_base64": "/w=="},
        ]
        repeated = [x for x in body if x["topic"] == "t.events"]
        count = len(body) + len(more) + len(repeated)
        return [lines[0], *repeated, *more, *body, {"end": True, "records": count}]

    changed(demo, mix)
    assert replay_incident(demo, agents=[agent("math")]).attempts == ["s1/1", "s3/1"]


def test_an_open_run_is_replayed_as_far_as_it_went(demo):
    def cut(lines):
        events = [x for x in lines[1:-1] if x["topic"] == "t.events"][:3]
        works = [x for x in lines[1:-1] if x["topic"] != "t.events"][:1]
        lines[0].update(holds={"t.events": 3}, ended=False, status="running")
        return [lines[0], *events, *works, {"end": True, "records": 4}]

    changed(demo, cut)
    replayed = replay_incident(demo, agents=[agent("math"), agent("string")])
    assert replayed.attempts == []
    assert set(replayed.left.values()) == {"it has no end"}


def test_a_gap_is_no_difference_but_a_file_that_is_not_whole(demo):
    def lose(lines):
        number = next(n for n, x in enumerate(lines) if "s1" in str(x.get("key", "")) or n == 3)
        return [*lines[:number], *lines[number + 1 : -1], {"end": True, "records": len(lines) - 3}]

    changed(demo, lose)
    with pytest.raises(IncidentUnusable, match=r"1 of .* are missing; write the file anew"):
        replay_incident(demo)


async def test_what_an_agent_forgot_is_nothing_that_cannot_be_read(tmp_path):
    forgot = ConsumerRecord(
        topic="t.checkpoints.math",
        partition=0,
        offset=0,
        timestamp=1_790_000_000_000,
        timestamp_type=0,
        key=b"r1/s1/1",
        value=None,
        checksum=None,
        serialized_key_size=-1,
        serialized_value_size=-1,
        headers=(),
    )
    path = await wrote(tmp_path, forgot, fact("plan_created"))
    assert [error for error in IncidentReplay(path).unread if "checkpoints" in error] == []


async def test_a_value_that_is_not_in_the_file_is_named_with_the_way_to_it(tmp_path):
    store = BlobStore((tmp_path / "blobs").as_uri())
    claim = await store.put(b"{}", summary="the plan")
    records = (of(0, claim.model_dump(), kind="plan_created", claimed=True), fact("run_done"))
    path = await wrote(tmp_path, *records)
    with pytest.raises(IncidentUnusable, match=r"nobody can tell.*the plan.*with --blobs"):
        replay_incident(path)
