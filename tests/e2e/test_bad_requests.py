"""Requests and records that cannot be: each leads to one end with a reason, and work goes on."""

from __future__ import annotations

import json

import pytest
from aiokafka.errors import MessageSizeTooLargeError
from support.asking import (
    AWKWARD,
    bare_producer,
    call,
    dead_letters,
    facts_of,
    rejection,
    request_bare,
    slow,
    texts_of,
    the_only_end,
)
from support.waiting import wait_until

from starlings.messages import PlanRejected, RunOutcome, RunRequested, header, run_id_at

pytestmark = pytest.mark.kafka

TWO_MB = 2 * 1024 * 1024


@pytest.fixture(scope="module", autouse=True)
def started(system):
    """What all tests of this file need."""
    system.start("coordinator", "planner", AWKWARD)


async def letter_from(system, topic: str, place):
    """Wait for the dead letter about the record that lies there; return it."""
    origin = f"{topic}/{place.partition}/{place.offset}"

    async def found():
        return [r for r in await dead_letters(system) if r.key.decode() == origin]

    (letter,) = await wait_until(found, timeout_s=30, message=f"{origin} is among the dead letters")
    return letter


async def works(system):
    """See that the system goes on."""
    async with system.client() as client:
        done = await (await client.submit(plan=[call("odd", "fine")])).result(timeout_s=60)
    assert (done.outcome, done.output) == (RunOutcome.COMPLETED, "fine")


@pytest.mark.parametrize(
    ("value", "code", "words"),
    [
        (b"Caf\xe9 for two", "not_utf8", "the request is not UTF-8 (byte 3); send text as UTF-8"),
        (b'{"request": "half', "not_json", "the request begins like JSON, but is not: EOF"),
        (b"{'request': 'single quotes'}", "not_json", "key must be a string at line 1 column 2"),
        (b'{"request": "a", "max_parallel": "many"}', "bad_request", "max_parallel: Input should"),
        (b'{"request": "a", "run_id": "a b"}', "bad_request", "run_id: String should match"),
        (b" \n", "empty_request", 'asks for nothing; a line of text, {"request": "…"}'),
        (b"{}", "empty_request", "asks for nothing"),
        (b'{"steps": []}', "no_steps", "the plan has no steps (add a step)"),
        (b"[1, 2]", "bad_field", "step '#0': it has to be an object"),
        (None, "no_value", "has no value"),
    ],
)
async def test_a_request_that_cannot_be_read_ends_at_once_with_the_reason(
    system, value, code, words
):
    topic = system.topics.requests
    async with bare_producer(system) as producer:
        place = await producer.send_and_wait(topic, value, key=None if value else b"")
    run_id = run_id_at(topic, place.partition, place.offset)

    done = await the_only_end(system, run_id)

    assert done.outcome is RunOutcome.REJECTED
    assert done.problems[0].code == code
    assert words in texts_of(done)
    async with system.client() as client:
        (rejected,) = await facts_of(client, run_id, PlanRejected)
    assert rejected.problems == done.problems
    if code in {"no_steps", "bad_field"}:
        return  # it could be read: it is the plan that is refused
    letter = await letter_from(system, topic, place)
    assert letter.value == value
    assert header(letter.headers, "starlings_error_code") == code
    await works(system)


@pytest.mark.parametrize("key", [b"a b", b"line\n", b"\xff", b"x" * 129])
async def test_a_key_that_is_no_run_id_names_no_run_and_the_request_is_done_all_the_same(
    system, key
):
    topic = system.topics.requests
    value = json.dumps({"steps": [call("odd", "fine")]}).encode()
    async with bare_producer(system) as producer:
        place = await producer.send_and_wait(topic, value, key=key)
        lost = await producer.send_and_wait(topic, b"{}", key=key)

    done = await the_only_end(system, run_id_at(topic, place.partition, place.offset))
    refused = await the_only_end(system, run_id_at(topic, lost.partition, lost.offset))

    assert (done.outcome, done.output) == (RunOutcome.COMPLETED, "fine")
    assert refused.problems[0].code == "empty_request"


async def test_kafka_and_its_clients_refuse_a_line_of_2_mb(system):
    async with bare_producer(system) as producer:
        with pytest.raises(MessageSizeTooLargeError, match="max_request_size"):
            await producer.send_and_wait(system.topics.requests, b"a" * TWO_MB)
    async with bare_producer(system, max_request_size=4 * TWO_MB) as producer:
        with pytest.raises(MessageSizeTooLargeError):
            await producer.send_and_wait(system.topics.requests, b"a" * TWO_MB)


async def test_2_mb_that_get_through_compressed_or_by_reference_are_refused(system):
    text = "word " * (TWO_MB // 5)
    options = {"max_request_size": 4 * TWO_MB, "compression_type": "gzip"}
    (run_id,) = await request_bare(system, text.encode(), **options)
    ends = [await the_only_end(system, run_id)]
    ends.append(await rejection(system, RunRequested(request=text)))

    for done in ends:
        assert done.problems[0].code == "too_large"
        assert "the limit is 262,144: pass large inputs by reference" in texts_of(done)
        assert len(texts_of(done)) < 1_000  # the text itself is not repeated
    await works(system)


async def test_an_unknown_agent_is_refused_at_once_and_the_known_ones_are_named(system):
    plan = [{"id": "a", "agent": "bard", "task": "Sing"}]

    done = await rejection(system, RunRequested(plan=plan))

    told = texts_of(done)
    assert told.startswith("step 'a': agent: there is no agent 'bard' (use one of ")
    assert told.endswith(")")
    for name in ("bulky", "odd", "slow"):
        assert f" {name}" in told


async def test_all_problems_of_a_plan_are_told_at_once(system):
    plan = [
        slow("a", "c"),
        slow("b", "a"),
        slow("c", "b"),
        slow("d", "d"),
        slow("e", "nowhere"),
        {"id": "e", "agent": "odd", "tool": "sing", "args": {}},
        {"id": "f", "agent": "odd", "tool": "raises", "args": {"loud": True}},
        {"id": "g", "agent": "slow", "task": " "},
    ]

    done = await rejection(system, RunRequested(plan=plan, max_parallel=0))

    assert {problem.code for problem in done.problems} == {
        "bad_parallelism",
        "cycle",
        "duplicate_id",
        "empty_task",
        "missing_argument",
        "self_dependency",
        "unknown_argument",
        "unknown_dependency",
        "unknown_tool",
    }
    assert "steps wait for each other: " in texts_of(done)
    assert "→ a → b" in texts_of(done) or "a → b →" in texts_of(done)
    assert "(and 8 more)" in done.error.message


async def test_20_000_steps_are_too_many(system):
    steps = [{"agent": "odd", "tool": "fine", "args": {}} for _ in range(20_000)]

    done = await rejection(system, RunRequested(plan=steps))

    assert texts_of(done) == (
        "steps: the plan has 20,000 steps; the limit is 10,000 "
        "(split the work over several runs, or let one step do more)"
    )
    await works(system)


@pytest.mark.parametrize(
    ("value", "code"),
    [(b"\xff\x00 no text", "not_utf8"), (b"{}", "bad_message"), (b"[half", "not_json")],
)
async def test_work_that_cannot_be_read_is_put_aside_and_the_agent_goes_on(system, value, code):
    topic = system.topics.steps("odd")
    given = [("left", b"as it was")]
    async with bare_producer(system) as producer:
        place = await producer.send_and_wait(topic, value, key=b"r/s", headers=given)

    letter = await letter_from(system, topic, place)

    assert letter.value == value
    assert header(letter.headers, "left") == "as it was"
    assert header(letter.headers, "starlings_error_code") == code
    assert f"{topic}/{place.partition}/{place.offset}" in header(
        letter.headers, "starlings_error_message"
    )
    await works(system)


async def test_facts_that_cannot_be_read_are_put_aside_and_runs_go_on(system):
    topic = system.topics.events
    values = [b"\xff", b"no json", json.dumps({"type": "step_done", "run_id": 1}).encode()]
    async with bare_producer(system) as producer:
        places = [await producer.send_and_wait(topic, value, partition=0) for value in values]

    letters = [await letter_from(system, topic, place) for place in places]

    assert [letter.value for letter in letters] == values
    codes = [header(letter.headers, "starlings_error_code") for letter in letters]
    assert codes == ["not_utf8", "not_json", "bad_message"]
    await works(system)
