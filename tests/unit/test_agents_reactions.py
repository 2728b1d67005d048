"""Agents that react to events: what may be declared, and what comes of a chain of reactions."""

from __future__ import annotations

from typing import Any

import pytest
from support.reactions import Answered, Closed, HTTPServerFound, Opened, agent, reacts

from starlings import (
    Event,
    EventContext,
    LocalChoreography,
    StepContext,
)
from starlings.agents.event import event_type_of
from starlings.messages import ConfigError, RetryPolicy
from starlings.messages.domain import emitted_id

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
