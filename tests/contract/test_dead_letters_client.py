"""Dead letters on a real Kafka: found, sent back untouched, refused with a reason, given up."""

from __future__ import annotations

import shutil
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from aiokafka import TopicPartition
from support.sites import records_of

from starlings.client import Client, LetterNotFound, Refused, SentBack
from starlings.kafka.admin import ensure_topics
from starlings.kafka.codec import CLAIM_HEADER
from starlings.kafka.dead_letters import bury
from starlings.kafka.letters import LetterState
from starlings.messages import (
    CompensationReady,
    ConfigError,
    ErrorInfo,
    PlanCreated,
    PlanRejected,
    RunDone,
    RunOutcome,
    RunRequested,
    StepReady,
    StepScheduled,
    attempt_id,
    header,
    message_id,
    run_key,
    step_key,
)
from starlings.messages.plan import Plan, Step
from starlings.service import ServiceSettings

pytestmark = pytest.mark.kafka
READY = StepReady(run_id="r1", step_id="s1", attempt=1, agent="math", task="x")
ERROR = ErrorInfo(code="handler", message="it broke")


class Scene:
    """An installation without services, a publisher, and a client."""

    def __init__(self, site, publisher, client) -> None:
        self.site = site
        self.publisher = publisher
        self.client = client
        self.letters = client.dead_letters
        self.steps = site.topics.steps("math")

    async def put(self, topic, message, *, key, ident, subject="r1"):
        """Publish a message; return the record as it lies."""
        place = await self.publisher.publish(topic, key, message, id=ident, subject=subject)
        return await self._at(place)

    async def put_raw(self, topic, value, *, key=None, headers=()):
        return await self._at(
            await self.publisher.forward(topic, key, value, headers=list(headers))
        )

    async def _at(self, place):
        found = TopicPartition(place.topic, place.partition)
        return await self.site.connection.record_at(found, place.offset)

    async def step(self, ready=READY):
        ident = attempt_id(ready.run_id, ready.step_id, ready.attempt, ready.NAME)
        key = step_key(ready.run_id, ready.step_id)
        return await self.put(self.steps, ready, key=key, ident=ident, subject=ready.run_id)

    async def bury(self, record, error=ERROR):
        group = self.site.topics.agent_group("math")
        await bury(self.publisher, record, error, topics=self.site.topics, group=group)
        return f"{record.topic}/{record.partition}/{record.offset}"

    async def waits(self, ready=READY):
        """Tell the log of a run that waits for a step."""
        run_id, events = ready.run_id, self.site.topics.events
        step = Step(id=ready.step_id, agent="math", task="x")
        plan = PlanCreated(run_id=run_id, request="x", plan=Plan(steps=[step]))
        scheduled = StepScheduled(
            run_id=run_id, step_id=ready.step_id, attempt=ready.attempt, agent="math"
        )
        ident = attempt_id(run_id, ready.step_id, ready.attempt, StepScheduled.NAME)
        await self.put(
            events, plan, key=run_key(run_id), ident=message_id(run_id, plan.NAME), subject=run_id
        )
        await self.put(events, scheduled, key=run_key(run_id), ident=ident, subject=run_id)

    async def buried_step(self):
        await self.waits()
        return await self.bury(await self.step())

    async def one(self, name, **how):
        (outcome,) = await self.letters.redrive([name], **how)
        return outcome


@pytest.fixture
async def scene(plain_site, publisher_at):
    topics = plain_site.topics
    specs = [*topics.core_specs(partitions=2), *topics.agent_specs("math", partitions=2)]
    await ensure_topics(plain_site.connection, specs, replication=1)
    settings = ServiceSettings(topic_prefix=topics.prefix, blobs_url=plain_site.blobs.url)
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(
            Client(kafka=plain_site.settings, settings=settings)
        )
        yield Scene(plain_site, await publisher_at(plain_site), client)


async def test_a_letter_goes_back_to_its_partition_with_its_key_value_and_headers(scene):
    await scene.waits()
    record = await scene.step()
    name = await scene.bury(record)

    outcome = await scene.one(name, by="ada")

    assert isinstance(outcome, SentBack)
    assert (outcome.to.topic, outcome.to.partition) == (record.topic, record.partition)
    _, back = await records_of(scene.site, scene.steps, 2)
    assert (back.key, back.value) == (record.key, record.value)
    assert back.headers[0] == ("starlings_redrive", f"{name}#1".encode())
    assert back.headers[1] == ("starlings_group", scene.site.topics.agent_group("math").encode())
    assert back.headers[2:] == record.headers
    letter = await scene.letters.get(name)
    assert (letter.state, letter.redrives) == (LetterState.REDRIVEN, 1)
    assert [event.by for event in letter.history()] == ["", "ada"]


async def test_a_second_redrive_says_so_and_needs_again(scene):
    name = await scene.buried_step()
    await scene.one(name, by="ada")

    refused = await scene.one(name)
    sent = await scene.one(name, again=True)

    assert isinstance(refused, Refused)
    assert refused.code == "already_redriven"
    assert "by ada" in refused.why
    assert isinstance(sent, SentBack)
    assert sent.count == 2


async def test_a_crash_before_the_mark_leads_to_the_same_message_once_more(scene, monkeypatch):
    name = await scene.buried_step()

    async def crash(*_args):
        raise RuntimeError("the machine is gone")

    with monkeypatch.context() as patched:
        patched.setattr(scene.letters, "_say", crash)
        with pytest.raises(RuntimeError):
            await scene.one(name)
    await scene.one(name)

    _, *backs = await records_of(scene.site, scene.steps, 3)
    assert len({header(back.headers, "starlings_redrive") for back in backs}) == 1


async def test_what_is_buried_again_opens_its_letter_with_the_history(scene):
    name = await scene.buried_step()
    await scene.one(name)
    _, back = await records_of(scene.site, scene.steps, 2)
    await scene.bury(back, ErrorInfo(code="still", message="still broken"))

    (letter,) = await scene.letters.find(state=LetterState.OPEN)
    assert letter.id == name
    assert letter.last.code == "still"
    assert [event.what for event in letter.history()] == ["buried", "redriven", "buried"]
    assert (await scene.one(name)).count == 2


async def test_a_discarded_letter_keeps_its_reason_and_is_no_longer_open(scene):
    name = await scene.buried_step()
    with pytest.raises(ConfigError, match="say which"):
        await scene.letters.discard(name, "  ")
    await scene.letters.discard(name, "made by hand", by="ada")
    assert await scene.letters.find(state=LetterState.OPEN) == []
    (letter,) = await scene.letters.find(state=LetterState.DISCARDED)
    assert letter.history()[-1].said == "made by hand"
    assert (await scene.one(name)).code == "already_discarded"


async def test_letters_are_found_by_topic_code_and_run_and_by_short_names(scene):
    name = await scene.buried_step()
    short = name.removeprefix(scene.site.topics.prefix)
    assert (await scene.letters.get(short)).id == name
    for found in (
        {"topic": "steps.math"},
        {"topic": scene.steps},
        {"code": "handler"},
        {"run_id": "r1"},
    ):
        assert [each.id for each in await scene.letters.find(**found)] == [name]
    for missed in ({"topic": "events"}, {"code": "other"}, {"run_id": "r2"}):
        assert await scene.letters.find(**missed) == []
    with pytest.raises(LetterNotFound, match="dlq ls"):
        await scene.letters.redrive([name, "steps.math/0/999"])
    assert (await scene.letters.get(name)).state is LetterState.OPEN


async def test_a_step_that_nobody_waits_for_is_refused_unless_forced(scene):
    unknown = await scene.bury(await scene.step(READY.model_copy(update={"run_id": "gone"})))
    await scene.waits()
    stale = await scene.bury(await scene.step(READY.model_copy(update={"attempt": 7})))
    ended = READY.model_copy(update={"run_id": "ended"})
    await scene.waits(ended)
    done = RunDone(run_id="ended", outcome=RunOutcome.COMPLETED, request="", steps=[], text="")
    await scene.put(
        scene.site.topics.events, done, key=b"ended", ident="ended/run_done", subject="ended"
    )
    over = await scene.bury(await scene.step(ended))

    said = {o.letter.id: o.why for o in await scene.letters.redrive([unknown, stale, over])}

    assert "knows no such run any more" in said[unknown]
    assert "nobody waits for attempt 7" in said[stale]
    assert "the run has ended (completed)" in said[over]
    assert isinstance(await scene.one(over, force=True), SentBack)


async def test_a_step_that_could_not_be_undone_is_answered_by_retry(scene):
    undo = CompensationReady(
        run_id="r1", step_id="s1", attempt=1, number=1, agent="math", input=None
    )
    record = await scene.put(scene.steps, undo, key=b"r1/s1", ident="r1/s1/1/compensation_ready/1")
    abandoned = await scene.step()
    error = ErrorInfo(code="compensation_abandoned_after_3", message="it stays booked")
    names = [await scene.bury(record), await scene.bury(abandoned, error)]

    for outcome in await scene.letters.redrive(names, again=True, force=True):
        assert outcome.code == "compensation"
        assert "`starlings retry r1 --compensation s1`" in outcome.why


async def test_a_value_that_is_gone_from_the_blob_store_is_refused_in_so_many_words(scene):
    await scene.waits()
    record = await scene.step(READY.model_copy(update={"task": "x" * 300_000}))
    assert (CLAIM_HEADER, b"1") in record.headers
    name = await scene.bury(record)
    folder = Path(scene.site.blobs.url.removeprefix("file://"))
    away = folder.with_name("away")
    shutil.move(folder, away)

    refused = await scene.one(name, force=True)
    assert refused.code == "blob_gone"
    assert "Bring it back first, or discard it" in refused.why

    shutil.rmtree(folder, ignore_errors=True)
    shutil.move(away, folder)
    assert isinstance(await scene.one(name), SentBack)


async def test_what_cannot_be_read_now_either_is_not_sent_back(scene):
    name = await scene.bury(await scene.put_raw(scene.steps, b"\xff\x00", key=b"r/s"))
    refused = await scene.one(name, again=True, force=True)
    assert refused.code == "not_utf8"
    assert "would be buried again" in refused.why
    content = await scene.letters.content(await scene.letters.get(name))
    assert (content.value, content.key) == (b"\xff\x00", b"r/s")


async def test_a_fact_that_can_be_read_now_is_appended_again(scene):
    scheduled = StepScheduled(run_id="r1", step_id="s1", attempt=1, agent="math")
    events = scene.site.topics.events
    record = await scene.put(events, scheduled, key=b"r1", ident="r1/s1/1/step_scheduled")
    outcome = await scene.one(await scene.bury(record))
    assert (outcome.to.partition, outcome.to.offset) == (record.partition, record.offset + 1)
    _, back = await records_of(scene.site, events, 2)
    assert header(back.headers, "ce_id") == "r1/s1/1/step_scheduled"


async def test_a_request_whose_run_was_rejected_is_refused_and_a_bare_one_is_a_new_run(scene):
    requests = scene.site.topics.requests
    asked = RunRequested(request="x", run_id="r9")
    record = await scene.put(requests, asked, key=b"r9", ident="r9/run_requested", subject="r9")
    named = await scene.bury(record)
    rejected = PlanRejected(run_id="r9", problems=[])
    await scene.put(
        scene.site.topics.events, rejected, key=b"r9", ident="r9/plan_rejected", subject="r9"
    )
    bare = await scene.bury(await scene.put_raw(requests, b"Calculate 5 factorial"))
    assert "ask again under a new id" in (await scene.one(named)).why
    sent = await scene.one(bare)
    back = await scene.site.connection.record_at(
        TopicPartition(requests, sent.to.partition), sent.to.offset
    )
    assert (back.key, back.value) == (None, b"Calculate 5 factorial")


async def test_a_letter_that_names_a_foreign_or_compacted_topic_is_sent_nowhere(scene):
    graves = scene.site.topics.dead_letters
    for topic in ("somebody.elses", graves, scene.site.topics.checkpoints("math")):
        headers = [("starlings_origin", f"{topic}/0/1".encode()), ("starlings_origin_key", b"")]
        await scene.put_raw(graves, b"{}", headers=headers)
        assert (await scene.one(f"{topic}/0/1", force=True)).code == "foreign_topic"


async def test_a_value_that_was_claimed_only_to_be_buried_comes_back_whole(scene):
    value = b'{"request": "' + b"y" * 1_048_400 + b'"}'
    record = await scene.put_raw(scene.site.topics.requests, value)
    name = await scene.bury(record)
    content = await scene.letters.content(await scene.letters.get(name))
    assert content.value == value
    assert content.problem.code == "too_large"
