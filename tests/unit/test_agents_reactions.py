"""Agents that react to events: what may be declared, and what comes of a chain of reactions."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic import BaseModel, Field

from starlings import (
    Agent,
    Event,
    EventContext,
    LocalChoreography,
    StepContext,
    StepFailed,
    TransientError,
)
from starlings.agents.event import event_type_of
from starlings.agents.execute import execute
from starlings.messages import ConfigError, EventOutcome, RetryPolicy, StepReady
from starlings.messages.domain import emitted_id


class Opened(Event, name="ticket_opened"):
    text: str


class Answered(Event):
    text: str


class Closed(BaseModel):
    text: str = ""


class HTTPServerFound(BaseModel):
    pass


def agent(name: str = "a") -> Agent:
    return Agent(name, description="Reacts")


# -- what may be declared ------------------------------------------------------------------------


def test_a_type_is_what_the_class_says_or_its_name_in_snake_case():
    assert event_type_of(Opened) == "ticket_opened"
    assert event_type_of(Answered) == "answered"
    assert event_type_of(HTTPServerFound) == "http_server_found"


def test_a_model_of_events_has_only_the_fields_of_its_author():
    assert Opened(text="x").model_dump() == {"text": "x"}


def test_a_subclass_has_a_type_of_its_own():
    class Reopened(Opened):
        pass

    assert event_type_of(Reopened) == "reopened"


@pytest.mark.parametrize("name", ["", "Ticket", "a b", "a-b", "1st", "a.b", "ä", "x" * 64])
def test_an_unusable_type_is_refused_where_it_is_declared(name):
    with pytest.raises(ConfigError, match="is no event type"):
        type("Bad", (Event,), {}, name=name)
    with pytest.raises(ConfigError, match="is no event type"):
        agent().on(name)(reacts)


async def reacts(event: Opened) -> Answered | None:
    return Answered(text=event.text)


def test_the_registry_hears_what_an_agent_listens_to_and_emits():
    a = agent()

    @a.on(Opened, "ticket_moved", retry=RetryPolicy(attempts=1), timeout_s=None)
    def react(event: dict[str, Any], ctx: EventContext) -> list[Answered | Closed] | None: ...

    @a.on("closed")
    def log(event: Closed) -> None: ...

    definition = a.definition()
    assert definition.listens == ["closed", "ticket_moved", "ticket_opened"]
    assert definition.emits == ["answered", "closed"]
    assert not definition.takes_steps


def test_an_agent_may_take_steps_and_react():
    a = agent()
    a.on(Opened)(reacts)
    a.step(lambda_step)
    assert a.definition().takes_steps
    assert a.definition().listens == ["ticket_opened"]


def lambda_step(task: str) -> str:
    return task


def no_event() -> None: ...


def two_events(first: Opened, second: Opened) -> None: ...


def wrong_context(ctx: StepContext) -> None: ...


def unannotated(event: Opened): ...


def returns_text(event: Opened) -> str:
    return ""


def returns_anything(event: Opened) -> Any: ...


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (no_event, "one parameter for the event"),
        (two_events, "one parameter for the event"),
        (wrong_context, "one EventContext"),
        (unannotated, "it returns nothing; say which events"),
        (returns_text, "it returns <class 'str'>; say which events"),
        (returns_anything, "say which events"),
    ],
)
def test_a_function_that_cannot_react_is_refused_with_words_that_help(function, said):
    with pytest.raises(ConfigError, match=said):
        agent().on("x")(function)


def test_two_reactions_to_one_type_are_refused():
    a = agent()
    a.on(Opened)(reacts)
    with pytest.raises(
        ConfigError, match=r"reacts to ticket_opened already, with reaction 'reacts'"
    ):
        a.on("ticket_opened")(reacts)


def test_a_reaction_to_nothing_is_refused():
    with pytest.raises(ConfigError, match="say to what it reacts"):
        agent().on()(reacts)
    with pytest.raises(ConfigError, match="timeout_s has to be above 0"):
        agent().on("x", timeout_s=0)(reacts)


# -- chains --------------------------------------------------------------------------------------


async def test_a_chain_goes_on_with_what_reactions_return():
    first, second, third = agent("first"), agent("second"), agent("third")
    seen: list[EventContext] = []

    @first.on(Opened)
    async def answer(event: Opened, ctx: EventContext) -> Answered:
        seen.append(ctx)
        return Answered(text=event.text.upper())

    @second.on("answered")
    def close(event: Answered, ctx: EventContext) -> Closed:
        seen.append(ctx)
        return Closed(text=f"{event.text}!")

    @third.on("answered")
    def audit(event: dict[str, Any]) -> None:
        assert event == {"text": "HELP"}

    chain = await LocalChoreography([first, second, third]).emit(
        Opened(text="help"), correlation_id="ticket-7"
    )
    assert [event.type for event in chain.events] == ["ticket_opened", "answered", "closed"]
    assert chain.of(Closed) == [Closed(text="HELP!")]
    assert not chain.failed
    assert {event.correlation_id for event in chain.events} == {"ticket-7"}
    root, answered, closed = chain.events
    assert (answered.causation_id, closed.causation_id) == (root.id, answered.id)
    assert [event.hops for event in chain.events] == [0, 1, 2]
    assert closed.trail == ("ticket_opened", "answered")
    assert [ctx.idempotency_key for ctx in seen] == [f"{root.id}/first", f"{answered.id}/second"]
    assert [(depth, e.type) for depth, e in chain.chain.walk()] == [
        (0, "ticket_opened"),
        (1, "answered"),
        (2, "closed"),
    ]


async def test_ids_of_emitted_events_are_those_of_a_repeat():
    a = agent()

    @a.on(Opened)
    def split(event: Opened) -> list[Answered | Closed]:
        return [Answered(text="1"), Closed(), Answered(text="2")]

    chains = [await LocalChoreography([a]).emit(Opened(text="x"), event_id="e") for _ in range(2)]
    ids = [[event.id for event in chain.events] for chain in chains]
    assert ids[0] == ids[1] == ["e", "e/a/0", "e/a/1", "e/a/2"]


async def test_an_event_that_was_there_before_is_dropped():
    a = agent()
    calls = []

    @a.on(Opened)
    def count(event: Opened) -> None:
        calls.append(event)

    local = LocalChoreography([a])
    await local.emit(Opened(text="x"), event_id="e")
    assert (await local.emit(Opened(text="x"), event_id="e")).events == []
    assert len(calls) == 1


def test_an_id_stays_short_however_long_a_chain_gets():
    ident = "e"
    for _ in range(1_000):
        ident = emitted_id(ident, "a" * 63, 999)
        assert len(ident) < 250
    assert ident == emitted_id(_before(ident_of=999), "a" * 63, 999)


def _before(ident_of: int) -> str:
    ident = "e"
    for _ in range(ident_of):
        ident = emitted_id(ident, "a" * 63, 999)
    return ident


async def test_agents_that_answer_each_other_are_stopped_at_the_hop_limit():
    a, b = agent("a"), agent("b")

    @a.on("answered")
    def ask(event: Answered) -> Opened:
        return Opened(text=event.text)

    b.on(Opened)(reacts)
    chain = await LocalChoreography([a, b], hop_limit=5).emit(Opened(text="x"))
    assert len(chain.events) == 6
    [refused] = chain.failed
    assert refused.error.code == "hop_limit"
    assert "ticket_opened → answered → ticket_opened" in refused.error.message
    assert refused.attempts == 0


async def test_an_event_nobody_listens_to_ends_its_branch():
    chain = await LocalChoreography([agent()]).emit("something_else", {"any": ["json", 1]})
    assert [event.type for event in chain.events] == ["something_else"]
    assert chain.handled == []


# -- what goes wrong -----------------------------------------------------------------------------


async def failing(raised: Exception, **options: Any):
    a = agent()
    calls: list[int] = []

    @a.on(Opened, **options)
    def fail(event: Opened, ctx: EventContext) -> Answered:
        calls.append(ctx.attempt)
        raise raised

    chain = await LocalChoreography([a], skip_waits=True).emit(Opened(text="x"))
    [handled] = chain.handled
    assert handled.outcome is EventOutcome.ERROR
    assert handled.attempts == len(calls)
    assert calls == list(range(1, len(calls) + 1))
    return handled


async def test_an_error_that_may_pass_is_tried_a_bounded_number_of_times():
    assert (await failing(TransientError("away"))).attempts == 3
    assert (await failing(ValueError("a bug"), retry=RetryPolicy(attempts=2))).attempts == 2


async def test_an_error_for_good_is_not_tried_again():
    handled = await failing(StepFailed("sold out", code="sold_out"))
    assert (handled.attempts, handled.error.code) == (1, "sold_out")


async def test_a_reaction_that_works_at_the_second_try_emits_its_events_once():
    a = agent()

    @a.on(Opened)
    def second_time(event: Opened, ctx: EventContext) -> Answered:
        if ctx.attempt == 1:
            raise TransientError("away")
        return Answered(text="at last")

    chain = await LocalChoreography([a], skip_waits=True).emit(Opened(text="x"))
    assert chain.of(Answered) == [Answered(text="at last")]
    assert chain.handled[0].attempts == 2


async def test_pauses_grow_and_heed_what_the_error_asks_for():
    a = agent()
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    @a.on(Opened, retry=RetryPolicy(attempts=4, initial_s=1, factor=3, max_s=5, jitter=0))
    def fail(event: Opened, ctx: EventContext) -> None:
        raise TransientError("away", retry_after_s=100 if ctx.attempt == 3 else None)

    local = LocalChoreography([a])
    local._sleep = sleep
    await local.emit(Opened(text="x"))
    assert pauses == [1, 3, 100]


async def test_a_reaction_that_takes_too_long_is_stopped():
    a = agent()

    @a.on(Opened, timeout_s=0.01, retry=RetryPolicy(attempts=1))
    async def hang(event: Opened) -> None:
        await asyncio.Event().wait()

    [handled] = (await LocalChoreography([a]).emit(Opened(text="x"))).handled
    assert handled.error.code == "timeout"
    assert "timeout_s of @agent.on" in handled.error.message


class Number(BaseModel):
    value: float = Field(default=0.0)


@pytest.mark.parametrize(
    ("returned", "code"),
    [
        (Closed(), "output_invalid"),
        ("text", "output_invalid"),
        ([Number()], "output_invalid"),
        (Number(value=float("nan")), "output_not_json"),
    ],
)
async def test_a_return_that_was_not_promised_or_is_not_json_is_an_error(returned, code):
    a = agent()

    @a.on(Opened)
    def wrong(event: Opened) -> Number:
        return returned

    [handled] = (await LocalChoreography([a], skip_waits=True).emit(Opened(text="x"))).handled
    assert handled.error.code == code


async def test_more_events_at_once_than_the_limit_are_an_error():
    a = agent()

    @a.on(Opened)
    def flood(event: Opened) -> list[Closed]:
        return [Closed()] * 1_001

    [handled] = (await LocalChoreography([a]).emit(Opened(text="x"))).handled
    assert handled.error.code == "too_many_events"


@pytest.mark.parametrize("payload", [{}, {"text": 5}, None, [], "x"])
async def test_an_event_of_the_wrong_shape_is_refused_without_a_call(payload):
    a = agent()
    a.on(Opened)(reacts)
    [handled] = (await LocalChoreography([a]).emit("ticket_opened", payload)).handled
    assert handled.error.code == "event_invalid"
    assert handled.attempts == 1


async def test_a_step_given_to_an_agent_that_only_reacts_fails_with_words_that_help():
    a = agent()
    a.on(Opened)(reacts)
    ready = StepReady(run_id="r", step_id="s", attempt=1, agent="a", task="do it")
    done = await execute(a, ready)
    assert (done.error.code, done.error.retryable) == ("takes_no_steps", False)
    assert "it only reacts to ticket_opened" in done.error.message


async def test_one_failing_listener_does_not_keep_the_others_from_reacting():
    a, b = agent("a"), agent("b")

    @a.on(Opened)
    def fail(event: Opened) -> None:
        raise StepFailed("no")

    b.on(Opened)(reacts)
    chain = await LocalChoreography([a, b]).emit(Opened(text="x"))
    assert [handled.agent for handled in chain.failed] == ["a"]
    assert chain.of(Answered) == [Answered(text="x")]


async def test_names_that_cannot_be_one_are_refused_when_an_event_is_emitted():
    local = LocalChoreography([agent()])
    with pytest.raises(ConfigError, match="correlation_id 'a b'"):
        await local.emit(Opened(text="x"), correlation_id="a b")
    with pytest.raises(ConfigError, match="is no event type"):
        await local.emit("Not A Type", {})
    with pytest.raises(StepFailed, match="not JSON"):
        await local.emit("x", float("nan"))
