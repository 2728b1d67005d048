"""Answers to forms on a real Kafka: found wherever they lie since a form was asked."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from starlings import StepContext
from starlings.forms import Form, answer_name
from starlings.kafka.admin import ensure_topics
from starlings.messages import SignalReceived, TopicSpec, message_id, run_key
from starlings_agents import human, human_answers

pytestmark = pytest.mark.kafka

FORM = Form.model_validate({"question": "How many?", "fields": {"amount": {"type": "integer"}}})
HOUR_S = 3_600


@pytest.fixture(autouse=True)
def settings(plain_site, monkeypatch) -> Iterator[None]:
    monkeypatch.setenv("KAFKA_BOOTSTRAP", plain_site.settings.bootstrap)
    monkeypatch.setenv("STARLINGS_TOPIC_PREFIX", plain_site.topics.prefix)
    monkeypatch.setenv("STARLINGS_BLOBS_URL", plain_site.blobs.url)
    human_answers._log.cache_clear()
    yield
    human_answers._log.cache_clear()


async def answer(site, run_id: str, *, ago_s: float) -> None:
    """Answer the form of a run as somebody did some time ago."""
    signal = SignalReceived(
        run_id=run_id, name=answer_name("ask"), payload={"amount": 3}, sent_by="ada"
    )
    ident = message_id(run_id, "answer")
    value, headers = await site.codec.encode(signal, id=ident, subject=run_id)
    async with site.connection.producer() as producer:
        await producer.send_and_wait(
            site.topics.events,
            value=value,
            key=run_key(run_id),
            headers=headers,
            timestamp_ms=int((time.time() - ago_s) * 1_000),
        )


def ctx(asked_ago_s: float | None) -> StepContext:
    asked_at = (
        None if asked_ago_s is None else datetime.fromtimestamp(time.time() - asked_ago_s, UTC)
    )
    return StepContext(run_id="r1", step_id="ask", attempt=1, agent="human", asked_at=asked_at)


async def with_events(site) -> None:
    events = TopicSpec(site.topics.events, 1)  # whose times a test can choose
    await ensure_topics(site.connection, [events], replication=1)


async def test_an_answer_that_was_given_while_the_agent_was_down_is_found(plain_site):
    await with_events(plain_site)
    await answer(plain_site, "r1", ago_s=HOUR_S)

    looks = {ago: await human.look(FORM, ctx(ago)) for ago in (HOUR_S + 10, HOUR_S - 120, -HOUR_S)}

    found, later, ahead = looks.values()
    assert found.output == {"answer": {"amount": 3}, "by": "ada"}
    assert later.state is not None  # an answer from before it was asked is another one's
    assert ahead.state is not None  # a clock that is ahead


async def test_an_answer_is_found_before_more_than_are_remembered_and_once_they_are(
    plain_site, monkeypatch
):
    monkeypatch.setattr(human_answers, "REMEMBERED", 2)
    await with_events(plain_site)
    for run_id in ("r1", *(f"other{n}" for n in range(6))):
        await answer(plain_site, run_id, ago_s=HOUR_S)

    first = await human.look(FORM, ctx(HOUR_S + 10))
    monkeypatch.setattr(human_answers, "FRESH_FOR_S", 0.0)  # the next one reads, and forgets
    again = await human.look(FORM, ctx(HOUR_S + 10))

    assert first.output == again.output == {"answer": {"amount": 3}, "by": "ada"}
