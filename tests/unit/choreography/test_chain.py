"""What is known of a chain of events from the records of the reactions to them."""

from __future__ import annotations

from starlings.choreography import Chain
from starlings.messages import ErrorInfo, EventHandled, EventOutcome, EventRef


def handled(event_id: str, *emitted: str, agent: str = "a", cause: str | None = None, **more):
    given = {"outcome": EventOutcome.OK, **more}
    return EventHandled(
        run_id="r",
        agent=agent,
        event_id=event_id,
        event_type=f"{event_id}_happened",
        causation_id=cause,
        emitted=[EventRef(id=name, type=f"{name}_happened") for name in emitted],
        **given,
    )


def drawn(*records: EventHandled) -> list[str]:
    chain = Chain()
    for record in records:
        chain.add(record)
    return ["  " * depth + event.id for depth, event in chain.walk()]


def test_every_event_stands_under_what_led_to_it():
    records = [handled("t", "u", "v"), handled("u", "w", cause="t"), handled("v", cause="t")]
    assert drawn(*records) == ["t", "  u", "    w", "  v"]


def test_a_reaction_that_is_recorded_after_those_to_what_it_emitted_changes_nothing():
    assert drawn(handled("u", "w", cause="t"), handled("t", "u")) == ["t", "  u", "    w"]


def test_an_event_whose_cause_is_not_known_begins_a_tree():
    assert drawn(handled("u", cause="long-gone"), handled("x")) == ["u", "x"]


def test_events_that_claim_to_have_led_to_each_other_are_drawn_once():
    assert drawn(handled("t", "u", cause="u"), handled("u", "t", cause="t")) == ["t", "  u"]


def test_the_first_record_of_a_reaction_counts_unless_a_later_one_went_well():
    chain = Chain()
    error = ErrorInfo(code="broken", message="it broke")
    bad = handled("t", outcome=EventOutcome.ERROR, error=error)
    assert chain.add(bad)
    assert not chain.add(bad)
    assert chain.add(handled("t", "u"))
    assert not chain.add(handled("t", "other"))
    assert not chain.add(bad)
    assert chain.events["t"].reactions["a"].emitted[0].id == "u"
    assert list(chain.events) == ["t", "u"]


def test_several_agents_react_to_one_event():
    chain = Chain()
    chain.add(handled("t", "u"))
    chain.add(handled("t", "v", agent="b"))
    assert set(chain.events["t"].reactions) == {"a", "b"}
    assert [event.id for _, event in chain.walk()] == ["t", "u", "v"]
