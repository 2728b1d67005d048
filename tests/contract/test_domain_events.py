"""Agents that react to events on a real Kafka: repeats, loops, failures, foreign producers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from support.sites import Site, records_of
from support.waiting import wait_until

from starlings import Agent, Event, EventContext, StepFailed, TransientError
from starlings.agents.event import new_event
from starlings.agents.listening import EventRuntime
from starlings.choreography import Chain
from starlings.kafka.admin import ensure_topics
from starlings.kafka.codec import CLAIM_HEADER
from starlings.kafka.dead_letters import CODE, MESSAGE, ORIGIN, send_back
from starlings.kafka.domain_events import DomainEventCodec
from starlings.kafka.publisher import Publisher
from starlings.messages import REPLAY_HEADER, DomainEvent, EventHandled, RetryPolicy, header
from starlings.messages.dead_letters import read_origin
from starlings.service import KafkaPorts

pytestmark = pytest.mark.kafka
WITHIN_S = 30.0


class Opened(Event):
    text: str


class Answered(Event):
    text: str


@dataclass
class Stage:
    """Agents of a test at work on one Kafka, and what lies there."""

    site: Site
    ports: KafkaPorts
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    lives: list[asyncio.Task[None]] = field(default_factory=list)

    async def start(self, *agents: Agent, hop_limit: int = 32) -> None:
        specs = self.site.topics.specs_of(agent.definition() for agent in agents)
        await ensure_topics(self.site.connection, specs, replication=1)
        for agent in agents:
            runtime = EventRuntime(agent, self.ports, instance="i", hop_limit=hop_limit)
            self.lives.append(asyncio.create_task(runtime.run(self.stop, 5.0)))
            await wait_until(
                lambda r=runtime: r.not_ready() is None, timeout_s=WITHIN_S, message="ready"
            )

    async def emit(
        self, event: Any, payload: Any = None, *, ident: str, run: str | None = None, **more: Any
    ):
        made = new_event(event, payload, id=ident, correlation_id=run)
        codec = DomainEventCodec(self.ports.codec, self.site.topics)
        value, headers = await codec.encode(made, **more)
        await self.put(made.type, value, key=made.correlation_id.encode(), headers=headers)

    async def put(self, kind: str, value: bytes | None, *, key=None, headers=()) -> None:
        """Produce as anybody might."""
        topic = self.site.topics.facts(kind)
        await self.ports.publisher.forward(topic, key, value, headers=list(headers))

    async def events(self, kind: str, count: int) -> list[DomainEvent]:
        codec = DomainEventCodec(self.ports.codec, self.site.topics)
        records = await self._records(self.site.topics.facts(kind), count)
        return [(await codec.decode(record)).message for record in records]

    async def handled(self, count: int) -> list[EventHandled]:
        records = await self._records(self.site.topics.events, count)
        return [(await self.ports.codec.decode(record)).message for record in records]

    async def dead(self, count: int) -> list[Any]:
        return await self._records(self.site.topics.dead_letters, count)

    async def _records(self, topic: str, count: int) -> list[Any]:
        return list(await asyncio.wait_for(records_of(self.site, topic, count), WITHIN_S))


@pytest.fixture
async def stage(plain_site) -> AsyncIterator[Stage]:
    """A Kafka with the core topics, and room for agents."""
    site = plain_site
    await ensure_topics(site.connection, site.topics.core_specs(), replication=1)
    publisher = Publisher(site.connection, site.codec)
    await publisher.start()
    stage = Stage(site, KafkaPorts(site.connection, publisher.codec, publisher, site.topics))
    try:
        yield stage
    finally:
        stage.stop.set()
        await asyncio.gather(*stage.lives)
        await publisher.stop()


def echo(calls: list[EventContext] | None = None) -> Agent:
    agent = Agent("echo", description="Answers what is opened")

    @agent.on(Opened, retry=RetryPolicy(attempts=2, initial_s=0.01))
    async def answer(event: Opened, ctx: EventContext) -> Answered | None:
        if calls is not None:
            calls.append(ctx)
        if event.text == "fail":
            raise StepFailed("that cannot be answered", code="unanswerable")
        if event.text == "away":
            raise TransientError("nobody is there", code="away")
        return Answered(text=event.text) if event.text else None

    return agent


async def test_what_a_reaction_returns_lies_on_its_topic_and_keeps_run_and_cause(stage):
    await stage.start(echo())
    await stage.emit(Opened(text="hello"), ident="t1", run="run-1")

    [answered] = await stage.events("answered", 1)
    assert answered == DomainEvent(
        type="answered",
        id="t1/echo/0",
        correlation_id="run-1",
        value=b'{"text":"hello"}',
        causation_id="t1",
        hops=1,
        trail=("opened",),
    )
    [handled] = await stage.handled(1)
    assert (handled.run_id, handled.agent, handled.event_id) == ("run-1", "echo", "t1")
    assert [ref.id for ref in handled.emitted] == ["t1/echo/0"]
    topic = stage.site.topics.facts("answered")
    [record] = await stage._records(topic, 1)
    assert header(record.headers, "ce_type") == "facts.answered"
    assert header(record.headers, "ce_causationid") == "t1"
    assert record.key == b"run-1"


async def test_a_reaction_knows_that_its_event_is_replayed_and_what_follows_says_so(stage):
    calls: list[EventContext] = []
    await stage.start(echo(calls))
    await stage.emit(Opened(text="again"), ident="t1", run="run-1", replay="event t1")
    await stage.emit(Opened(text="new"), ident="t2", run="run-2")

    topics = stage.site.topics
    for topic in (topics.facts("answered"), topics.events):
        marks = {
            record.key: header(record.headers, REPLAY_HEADER)
            for record in await stage._records(topic, 2)
        }
        assert marks == {b"run-1": "event t1", b"run-2": None}
    assert {ctx.event_id: ctx.replaying for ctx in calls} == {"t1": True, "t2": False}


async def test_a_repeated_event_is_dropped_by_its_id_and_another_one_is_not(stage):
    calls: list[EventContext] = []
    await stage.start(echo(calls))
    for ident in ("same", "same", "other", "same"):
        await stage.emit(Opened(text=ident), ident=ident, run="run-1")
    await stage.emit(Opened(text="last"), ident="last", run="run-1")

    answered = await stage.events("answered", 3)  # reactions run side by side
    assert sorted(e.id for e in answered) == ["last/echo/0", "other/echo/0", "same/echo/0"]
    assert sorted(ctx.event_id for ctx in calls) == ["last", "other", "same"]


async def test_a_loop_of_agents_ends_in_the_dead_letters_with_the_chain_named(stage):
    back = Agent("back", description="Opens what was answered")

    @back.on(Answered)
    def reopen(event: Answered) -> Opened:
        return Opened(text=event.text)

    await stage.start(echo(), back, hop_limit=7)
    await stage.emit(Opened(text="again"), ident="t1", run="run-1")

    [dead] = await stage.dead(1)
    assert header(dead.headers, CODE) == "hop_limit"
    assert "opened → answered → opened" in header(dead.headers, MESSAGE)
    assert "starlings show run-1" in header(dead.headers, MESSAGE)
    handled = await stage.handled(8)
    assert sum(each.error is None for each in handled) == 7
    [refused] = [each for each in handled if each.error is not None]
    assert (refused.error.code, refused.hops) == ("hop_limit", 7)


@pytest.mark.parametrize(
    ("text", "code", "attempts"), [("fail", "unanswerable", 1), ("away", "away", 2)]
)
async def test_an_event_that_an_agent_gives_up_goes_to_the_dead_letters_and_others_go_on(
    stage, text, code, attempts
):
    await stage.start(echo())
    await stage.emit(Opened(text=text), ident="bad", run="run-1")
    await stage.emit(Opened(text="good"), ident="good", run="run-1")

    [dead] = await stage.dead(1)
    assert header(dead.headers, CODE) == code
    assert header(dead.headers, "ce_id") == "bad"
    assert dead.value == f'{{"text":"{text}"}}'.encode()
    assert [event.id for event in await stage.events("answered", 1)] == ["good/echo/0"]
    failed = next(each for each in await stage.handled(2) if each.error is not None)
    assert (failed.event_id, failed.error.code, failed.attempts) == ("bad", code, attempts)


async def test_an_event_that_met_a_providers_limit_waits_with_the_agent_and_costs_no_try(stage):
    loop = asyncio.get_running_loop()
    began: list[float] = []
    busy = Agent("busy", description="Asks a provider")

    @busy.on(Opened)
    async def ask(event: Opened) -> Answered:
        began.append(loop.time())
        if len(began) == 1:
            raise TransientError("not so fast", cooldown=True, retry_after_s=1.0)
        return Answered(text=event.text)

    await stage.start(busy)
    await stage.emit(Opened(text="x"), ident="t1", run="run-1")
    [answered] = await stage.events("answered", 1)
    assert answered.id == "t1/busy/0"
    [handled] = await stage.handled(1)
    assert (handled.error, handled.attempts) == (None, 1)
    assert began[1] - began[0] >= 0.9


async def test_what_kafka_does_not_take_is_kept_and_the_event_not_reacted_to_again(
    stage, monkeypatch
):
    calls: list[EventContext] = []
    publisher, refused = stage.ports.publisher, []
    unheard = [stage.site.topics.facts("answered"), stage.site.topics.events]

    async def refuse_at_first(send, topic, *given, **more):
        if topic in unheard and refused.count(topic) < 2:
            refused.append(topic)
            raise TransientError("away", code="kafka_unavailable")
        return await send(topic, *given, **more)

    for name in ("forward", "publish"):
        monkeypatch.setattr(publisher, name, partial(refuse_at_first, getattr(publisher, name)))
    await stage.start(echo(calls))
    await stage.emit(Opened(text="x"), ident="t1", run="run-1")
    [handled] = await stage.handled(1)

    assert (handled.error, handled.event_id) == (None, "t1")
    assert refused == [topic for topic in unheard for _ in range(2)]
    assert len(calls) == 1


async def test_a_bare_producer_needs_no_headers(stage):
    calls: list[EventContext] = []
    await stage.start(echo(calls))
    await stage.put("opened", b'{"text":"with a key"}', key=b"order-7")
    await stage.put("opened", b'{"text":"without"}', key=None)
    await stage.put("opened", b'{"text":"odd key"}', key=b"a b/\xff")
    await stage.put("opened", b'{"text":"a line"}', key=b"order-8\n")

    await stage.events("answered", 4)
    found = {ctx.run_id: ctx for ctx in calls}
    topic = stage.site.topics.facts("opened")
    assert found["order-7"].event_id.startswith(f"{topic}/")
    places = [run.startswith(f"{topic}-") for run in found if run != "order-7"]
    assert places == [True, True, True]
    assert all(ctx.hops == 0 and ctx.causation_id is None for ctx in calls)


async def test_a_foreign_cloud_event_keeps_its_id_and_correlation(stage):
    calls: list[EventContext] = []
    await stage.start(echo(calls))
    headers = [
        ("ce_specversion", b"1.0"),
        ("ce_type", b"com.example.opened"),
        ("ce_id", b"8d1c"),
        ("ce_correlationid", b"order-8"),
        ("ce_subject", b"what it is about"),
    ]
    await stage.put("opened", b'{"text":"x","more":1}', headers=headers)

    [answered] = await stage.events("answered", 1)
    assert (answered.id, answered.correlation_id) == ("8d1c/echo/0", "order-8")


HOSTILE = {
    "not_json": (b"{not json", [], "event_invalid"),
    "not_utf8": (b'{"text": "\xff\xfe"}', [], "event_invalid"),
    "empty": (b"", [], "event_invalid"),
    "wrong_shape": (b'{"text": {"a": 1}}', [], "event_invalid"),
    "deep": (b"[" * 100_000, [], "event_invalid"),
    "tombstone": (None, [], "no_value"),
    "hops_no_number": (b'{"text":"x"}', [("ce_hops", b"-5")], "bad_headers"),
    "hops_huge": (b'{"text":"x"}', [("ce_hops", b"9" * 50)], "hop_limit"),
    "long_id": (b'{"text":"x"}', [("ce_id", b"x" * 100_000)], "bad_headers"),
    "odd_trail": (b'{"text":"x"}', [("ce_trail", b"a,,B")], "bad_headers"),
    "no_such_blob": (b"{}", [(CLAIM_HEADER, b"1")], "bad_message"),
}


async def test_hostile_records_are_put_aside_each_with_its_reason_and_the_next_is_handled(stage):
    await stage.start(echo())
    for name, (value, headers, _code) in HOSTILE.items():
        given = [*headers, ("test", name.encode())]
        await stage.put("opened", value, key=b"k", headers=given)
    await stage.put("opened", b'{"text":"good"}', key=b"k")

    dead = await stage.dead(len(HOSTILE))
    codes = {header(record.headers, "test"): header(record.headers, CODE) for record in dead}
    assert codes == {name: code for name, (_, _, code) in HOSTILE.items()}
    assert len(await stage.events("answered", 1)) == 1


async def test_an_event_that_is_sent_back_reaches_only_the_agent_that_failed_and_keeps_its_names(
    stage,
):
    fails, calls = [StepFailed("the line is dead", code="dead_line")], []
    shaky = Agent("shaky", description="Works the second time")

    @shaky.on(Opened)
    def react(event: Opened, ctx: EventContext) -> Answered:
        if fails:
            raise fails.pop()
        calls.append(ctx)
        return Answered(text="at last")

    steady: list[EventContext] = []
    await stage.start(shaky, echo(steady))
    await stage.put("opened", b'{"text":""}')
    [letter] = await stage.dead(1)
    group = stage.site.topics.event_group("shaky", "opened")
    origin = read_origin(header(letter.headers, ORIGIN))
    await send_back(stage.ports.publisher, letter, origin, count=1, group=group)
    [answered] = await stage.events("answered", 1)

    handled = await stage.handled(3)
    chain = Chain()
    for each in handled:
        chain.add(each)
    [root, following] = [event for _, event in chain.walk()]
    assert {agent: each.error for agent, each in root.reactions.items()} == {
        "shaky": None,
        "echo": None,
    }
    assert answered.causation_id == calls[0].event_id == steady[0].event_id == root.id
    assert following.id == answered.id
    assert len(steady) == 1


async def test_two_megabytes_pass_whoever_sends_them(stage):
    await stage.start(echo())
    text = "abcdefghij" * 200_000
    await stage.emit(Opened(text=text), ident="ours", run="run-1")
    async with contextlib.AsyncExitStack() as stack:
        bootstrap = stage.site.settings.bootstrap
        bare = AIOKafkaProducer(
            bootstrap_servers=bootstrap, compression_type="gzip", max_request_size=4_000_000
        )
        await bare.start()
        stack.push_async_callback(bare.stop)
        topic = stage.site.topics.facts("opened")
        await bare.send_and_wait(topic, b'{"text":"%s"}' % text.encode(), key=b"run-2")
        await bare.send_and_wait(topic, b'{"nothing":"%s"}' % text.encode(), key=b"run-3")

    answered = await stage.events("answered", 2)
    assert {len(event.value) for event in answered} == {len(text) + len('{"text":""}')}
    [dead] = await stage.dead(1)
    assert header(dead.headers, CODE) == "event_invalid"
    assert len(await stage.ports.codec.value_of(dead)) > 2_000_000


async def test_several_events_of_one_reaction_keep_their_order_and_none_is_fine(stage):
    many = Agent("many", description="Counts")

    @many.on("counted")
    def count(event: dict[str, int]) -> list[Answered]:
        return [Answered(text=str(number)) for number in range(event["to"])]

    await stage.start(many)
    await stage.emit("counted", {"to": 0}, ident="none", run="run-1")
    await stage.emit("counted", {"to": 20}, ident="twenty", run="run-1")

    answered = await stage.events("answered", 20)
    assert [event.id for event in answered] == [f"twenty/many/{n}" for n in range(20)]
    handled = {each.event_id: each for each in await stage.handled(2)}
    assert handled["none"].emitted == []
    assert len(handled["twenty"].emitted) == 20
