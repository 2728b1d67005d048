"""What `starlings doctor` looks at: each check gives findings, and none stops the others.

A finding says what is the case and, where it is not fine, what to do about it.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from enum import StrEnum
from importlib.metadata import version
from typing import Any

from aiokafka.errors import KafkaError

from starlings.agents.registry import Registry
from starlings.agents.registry_view import registry_view
from starlings.blobs import BlobStore
from starlings.kafka.admin import Action, group_lag, plan_topics
from starlings.kafka.codec import Codec
from starlings.kafka.connection import Connection, KafkaSettings
from starlings.kafka.letters_view import read_letters
from starlings.messages import ConfigError, StarlingsError, Topics
from starlings.service import ServiceSettings, load_settings

from .reach import connection, is_demanded, local_bootstrap, patience_s
from .topic_names import Wanted, wanted_topics

MANY_WAITING = 1_000
OLDEST_PYTHON = (3, 11)


class Verdict(StrEnum):
    """How it is with something."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    what: str
    verdict: Verdict
    said: str
    remedy: str = ""

    def document(self) -> dict[str, str]:
        """Write it for `--json`."""
        return asdict(self)


async def examine() -> AsyncGenerator[Finding]:
    """Look at everything, in the order in which it is needed."""
    yield _python()
    yield _java()
    yield _model()
    try:
        settings = load_settings(ServiceSettings)
        kafka = connection()
        where = _where()
        await kafka.connect(patience_s())
    except ConfigError as error:
        yield Finding("kafka", Verdict.FAIL, str(error))
        return
    yield Finding("kafka", Verdict.OK, f"answers on {kafka.bootstrap} ({where})")
    try:
        async for finding in _installation(kafka, settings):
            yield finding
    except (StarlingsError, KafkaError, TimeoutError) as error:
        yield Finding("kafka", Verdict.FAIL, f"stopped answering: {error!r}", "run this again")


# -- this machine --------------------------------------------------------------------------------


def _python() -> Finding:
    said = f"{platform.python_version()}, starlings {version('starlings')}"
    if sys.version_info < OLDEST_PYTHON:
        return Finding("python", Verdict.FAIL, said, "Starlings needs 3.11 or newer")
    return Finding("python", Verdict.OK, said)


def _java() -> Finding:
    only = "only the local broker (starlings broker up) needs it"
    try:
        from starlings.broker.java import find_java  # noqa: PLC0415 - an extra

        java = find_java()
    except ImportError as error:
        said = f"the extra starlings[broker] is missing ({error.name}); {only}"
        return Finding("java", Verdict.WARN, said, "pip install 'starlings[broker]'")
    except ConfigError as error:
        return Finding("java", Verdict.WARN, f"{error}; {only}")
    return Finding("java", Verdict.OK, f"{java.version} ({java.program})")


def _model() -> Finding:
    try:
        from starlings.llm.endpoint import configured_endpoint  # noqa: PLC0415 - an extra
        from starlings.llm.settings import LlmSettings  # noqa: PLC0415

        endpoint = configured_endpoint(load_settings(LlmSettings))
    except ImportError as error:
        said = f"the extra starlings[llm] is missing ({error.name})"
        return Finding("model", Verdict.WARN, said, "pip install 'starlings[llm]'")
    except ConfigError as error:
        return Finding("model", Verdict.FAIL, str(error))
    if endpoint is None:
        said = "none is configured: the offline rules answer, which know sums, texts and weather"
        remedy = "set OPENAI_API_KEY or OPENAI_BASE_URL"
        return Finding("model", Verdict.WARN, said, remedy)
    key = "with a key" if endpoint.has_key else "without a key"
    return Finding("model", Verdict.OK, f"{endpoint.description}, {key} (not asked)")


def _where() -> str:
    if is_demanded(load_settings(KafkaSettings)):
        return "KAFKA_BOOTSTRAP"
    return "the local broker" if local_bootstrap() else "the default address"


# -- the installation on Kafka -------------------------------------------------------------------


async def _installation(kafka: Connection, settings: ServiceSettings) -> AsyncGenerator[Finding]:
    wanted = await wanted_topics([])
    missing = set[str]()
    async for finding in _topics(wanted, missing):
        yield finding
    topics = settings.topics
    if topics.agents in missing:
        return
    codec = Codec(source="starlings/doctor", blobs=BlobStore(settings.blobs_url))
    async with registry_view(kafka, codec, topics) as registry:
        pass
    for what, group, topic, remedy in (
        ("planner", topics.planner_group, topics.requests, "python -m starlings_planner"),
        ("coordinator", topics.coordinator_group, topics.events, "python -m starlings_coordinator"),
    ):
        if topic not in missing:
            yield await _group(kafka, what, group, topic, f"start one: {remedy}")
    async for finding in _agents(kafka, topics, registry):
        yield finding
    if topics.dead_letters not in missing:
        yield await _dead_letters(kafka, codec, topics)


async def _topics(wanted: Wanted, missing: set[str]) -> AsyncGenerator[Finding]:
    changes = await plan_topics(wanted.connection, wanted.specs)
    for change in changes:
        if change.action is Action.CREATE:
            missing.add(change.name)
        if change.action in (Action.CREATE, Action.ALTER, Action.GROW):
            said = f"{change.name}: {change.details}"
            yield Finding("topics", Verdict.FAIL, said, "run `starlings topics ensure`")
        elif change.action is Action.BY_HAND:
            yield Finding("topics", Verdict.WARN, f"{change.name}: {change.details}")
    fine = sum(change.action is Action.NOTHING for change in changes)
    if fine:
        said = f"{fine} of {len(changes)} as they have to be, under {wanted.topics.prefix}"
        yield Finding("topics", Verdict.OK, said)


async def _agents(kafka: Connection, topics: Topics, registry: Registry) -> AsyncGenerator[Finding]:
    if not registry.agents:
        remedy = "start one: starlings agent run module:agent"
        yield Finding("agents", Verdict.WARN, "none is known", remedy)
    instances = registry.instances()
    for name, definition in sorted(registry.agents.items()):
        alive = sum(instance.agent == name for instance in instances)
        if not alive:
            said = "known, but no instance is alive"
            verdict = Verdict.OK if definition.scales_from_zero else Verdict.WARN
            rest = "; it scales from zero" if definition.scales_from_zero else ""
            remedy = "" if rest else "plans cannot use it: start it, if it shall be there"
            yield Finding(f"agent {name}", verdict, said + rest, remedy)
            continue
        work = [(topics.agent_group(name), topics.steps(name))] if definition.takes_steps else []
        work += [(topics.event_group(name, e), topics.facts(e)) for e in definition.listens]
        for group, topic in work:
            found = await _group(kafka, f"agent {name}", group, topic)
            yield Finding(found.what, found.verdict, f"{alive} alive, {found.said}", found.remedy)


async def _group(
    kafka: Connection, what: str, group: str, topic: str, to_start: str = ""
) -> Finding:
    lag = await group_lag(kafka, group, [topic])
    waiting, members = sum(lag.values()), await _members(kafka, group)
    said = f"{waiting:,} waiting in {topic}"
    if not members:
        return Finding(what, Verdict.FAIL, f"nobody is at work; {said}", to_start)
    count = "1 member" if members == 1 else f"{members} members"
    if waiting > MANY_WAITING:
        remedy = "if that goes on growing, start more replicas"
        return Finding(what, Verdict.WARN, f"{count}, {said}", remedy)
    return Finding(what, Verdict.OK, f"{count}, {said}")


async def _members(kafka: Connection, group: str) -> int:
    async with kafka.administering() as admin:
        responses: Sequence[Any] = await admin.describe_consumer_groups([group])
    with suppress(KeyError):
        described = [g for r in responses for g in r.to_object()["groups"]]
        return sum(len(found["members"]) for found in described)
    return 0


async def _dead_letters(kafka: Connection, codec: Codec, topics: Topics) -> Finding:
    letters = await read_letters(kafka, codec, topics)
    if not letters.open:
        return Finding("dead letters", Verdict.OK, "none is open")
    said = f"{letters.open:,} open in {topics.dead_letters}"
    remedy = "`starlings dlq ls` lists them, `starlings dlq show` says what to do"
    return Finding("dead letters", Verdict.WARN, said, remedy)
