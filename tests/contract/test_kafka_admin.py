"""Topics as they have to be: found missing or wrong, made right, never silently grown."""

from __future__ import annotations

from dataclasses import replace

import pytest
from aiokafka.admin import NewPartitions
from support.sites import Site, settings_of

from starlings.blobs import BlobStore
from starlings.broker import LocalBroker
from starlings.kafka.admin import (
    Action,
    TopicChange,
    check_topics,
    ensure_topics,
    group_lag,
    plan_topics,
)
from starlings.kafka.connection import KafkaSettings
from starlings.kafka.publisher import Publisher
from starlings.messages import ConfigError, Topics, TopicSpec

pytestmark = pytest.mark.kafka
HOUR, DAY = "3600000", "86400000"


def spec_at(site: Site, name: str = "events", partitions: int = 2, **settings: str) -> TopicSpec:
    keys = {key.replace("_", "."): value for key, value in settings.items()}
    return TopicSpec(f"{site.topics.prefix}{name}", partitions, keys)


async def own_settings(site: Site, topic: str) -> dict[str, str]:
    from starlings.kafka.admin import _settings  # noqa: PLC0415

    async with site.connection.administering() as admin:
        return (await _settings(admin, [topic]))[topic][1]


class TestEnsuring:
    async def test_missing_topics_are_planned_then_created_as_specified(self, site):
        specs = site.topics.core_specs(partitions=3)
        planned = await plan_topics(site.connection, specs)
        assert {change.action for change in planned} == {Action.CREATE}
        assert not await site.connection.topic_names() & {spec.name for spec in specs}

        assert await ensure_topics(site.connection, specs) == planned

        await check_topics(site.connection, specs)
        assert {c.action for c in await plan_topics(site.connection, specs)} == {Action.NOTHING}
        assert list(await site.connection.partitions(site.topics.events)) == [0, 1, 2]

    async def test_ensuring_twice_changes_nothing(self, site):
        spec = spec_at(site, retention_ms=HOUR)
        await ensure_topics(site.connection, [spec])
        assert await ensure_topics(site.connection, [spec]) == [
            TopicChange(spec.name, Action.NOTHING)
        ]

    async def test_a_wrong_setting_is_mended_and_settings_of_others_stay(self, site):
        before = spec_at(site, retention_ms=HOUR, segment_ms=HOUR)
        await ensure_topics(site.connection, [before])
        spec = spec_at(site, retention_ms=DAY, cleanup_policy="delete")

        (change,) = await ensure_topics(site.connection, [spec])

        assert (change.action, change.details) == (
            Action.ALTER,
            f"retention.ms is {HOUR}, not {DAY}",
        )
        assert (await own_settings(site, spec.name)) == {
            "retention.ms": DAY,
            "segment.ms": HOUR,
            "cleanup.policy": "delete",
        }

    async def test_too_few_partitions_are_reported_and_left_to_people(self, site):
        await ensure_topics(site.connection, [spec_at(site, partitions=2)])
        (change,) = await ensure_topics(site.connection, [spec_at(site, partitions=5)])
        assert change.action is Action.BY_HAND
        assert change.details.startswith("2 partitions, not 5: adding some moves keys")
        assert list(await site.connection.partitions(change.name)) == [0, 1]

    async def test_more_partitions_than_wanted_are_fine(self, site):
        await ensure_topics(site.connection, [spec_at(site, partitions=4)])
        (change,) = await plan_topics(site.connection, [spec_at(site, partitions=1)])
        assert change.action is Action.NOTHING

    async def test_checkpoints_get_and_keep_as_many_partitions_as_the_steps(self, plain_site):
        site, agent = plain_site, "grown"
        steps, checkpoints = site.topics.agent_specs(agent, partitions=3)
        await ensure_topics(site.connection, [replace(steps, partitions=5)])

        (_, made) = await ensure_topics(site.connection, [steps, checkpoints])
        assert (made.action, made.details) == (Action.CREATE, "missing (5 partitions)")
        assert len(await site.connection.partitions(checkpoints.name)) == 5

        async with site.connection.administering() as admin:
            await admin.create_partitions({steps.name: NewPartitions(7)})
        (change,) = await plan_topics(site.connection, [checkpoints])
        said = f"5 partitions, and {steps.name} has 7"
        assert (change.action, change.details) == (Action.GROW, said)
        with pytest.raises(ConfigError, match=said):
            await check_topics(site.connection, [steps, checkpoints])
        await ensure_topics(site.connection, [steps, checkpoints])
        await check_topics(site.connection, [steps, checkpoints])
        assert len(await site.connection.partitions(checkpoints.name)) == 7

    async def test_more_checkpoint_partitions_than_steps_have_are_refused(self, plain_site):
        site = plain_site
        steps, checkpoints = site.topics.agent_specs("shrunk", partitions=2)
        await ensure_topics(site.connection, [steps, replace(checkpoints, partitions=3, like=None)])
        with pytest.raises(ConfigError, match=f"3 partitions, and {steps.name} has 2; add"):
            await check_topics(site.connection, [steps, checkpoints])

    async def test_a_setting_that_kafka_refuses_names_topic_and_setting(self, site):
        spec = spec_at(site, retention_ms="for ever")
        with pytest.raises(ConfigError, match=f"topic {spec.name}: .*retention.ms"):
            await ensure_topics(site.connection, [spec])

    async def test_nothing_to_ensure_is_nothing_to_do(self, plain_site):
        assert await ensure_topics(plain_site.connection, []) == []


class TestChecking:
    async def test_every_missing_and_wrong_topic_is_named_with_the_command(self, site):
        await ensure_topics(site.connection, [spec_at(site, "wrong", retention_ms=HOUR)])
        missing = spec_at(site, "missing", retention_ms=HOUR)
        wrong = spec_at(site, "wrong", retention_ms=DAY)
        with pytest.raises(ConfigError) as caught:
            await check_topics(site.connection, [missing, wrong])
        assert str(caught.value) == (
            f"topics are not as they have to be ({missing.name}: missing (2 partitions); "
            f"{wrong.name}: retention.ms is {HOUR}, not {DAY}): run `starlings topics ensure`"
        )

    async def test_too_few_partitions_do_not_keep_a_service_from_starting(self, site):
        await ensure_topics(site.connection, [spec_at(site, partitions=2)])
        await check_topics(site.connection, [spec_at(site, partitions=5)])

    async def test_a_topic_that_may_not_be_seen_names_the_acl(self, secured_kafka):
        app = Site(
            settings_of(secured_kafka.environment("app")), Topics("other."), BlobStore("memory:///")
        )
        with pytest.raises(ConfigError, match=r"may not see other\.events: it needs the ACL DESCR"):
            await check_topics(app.connection, [spec_at(app)])
        with pytest.raises(ConfigError, match=r"may not see other\.events"):
            await app.connection.partitions("other.events")


class TestLag:
    async def test_lag_is_what_a_group_has_not_committed(self, site, publisher_at):
        topic = await site.create("steps.math", partitions=1)
        publisher = await publisher_at(site)
        for _ in range(5):
            await publisher.forward(topic, b"k", b"v", headers=[])
        group = f"{site.topics.prefix}group"
        assert {p.partition: lag for p, lag in (await lag_of(site, group, topic)).items()} == {0: 5}

        consumer = site.connection.consumer(group_id=group)
        (place,) = await lag_of(site, group, topic)
        consumer.assign([place])
        await consumer.start()
        await consumer.commit({place: (3, "note")})
        await consumer.stop()

        assert list((await lag_of(site, group, topic)).values()) == [2]
        assert (await site.connection.committed(group, [place]))[place].metadata == "note"

    async def test_a_missing_topic_has_no_lag(self, site):
        assert await lag_of(site, f"{site.topics.prefix}group", f"{site.topics.prefix}no") == {}


async def lag_of(site: Site, group: str, topic: str) -> dict:
    return await group_lag(site.connection, group, [topic])


async def test_asking_about_a_topic_never_creates_it(tmp_path):
    """Brokers whose topics come by themselves would give them settings that are not ours."""
    with LocalBroker(tmp_path, settings={"auto.create.topics.enable": "true"}) as broker:
        broker.start()
        site = Site(KafkaSettings(bootstrap=broker.bootstrap), Topics(), BlobStore("memory:///"))
        publisher = Publisher(site.connection, site.codec)
        await publisher.start()
        try:
            with pytest.raises(ConfigError, match="is missing"):
                await publisher.forward(site.topics.events, b"k", b"v", headers=[])
        finally:
            await publisher.stop()
        with pytest.raises(ConfigError, match="is missing"):
            await site.connection.partitions(site.topics.events)
        with pytest.raises(ConfigError, match="run `starlings topics ensure`"):
            await check_topics(site.connection, site.topics.core_specs())
        assert await lag_of(site, "group", site.topics.events) == {}
        assert site.topics.events not in await site.connection.topic_names()
