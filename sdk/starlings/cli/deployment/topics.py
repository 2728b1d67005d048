"""Whether the topics are as they have to be, and whether a broker that is lost loses nothing."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

from starlings.cli.checkup import Finding, Verdict
from starlings.kafka.admin import Action, effective_settings, plan_topics
from starlings.kafka.standing import Copies, TopicStanding, look_at_topics

from .looking import Scene

SAFE_COPIES = 3
MIN_INSYNC = "min.insync.replicas"
UNCLEAN = "unclean.leader.election.enable"


async def settings_of_topics(scene: Scene) -> AsyncGenerator[Finding]:
    """Compare names, settings and partitions with how they have to be."""
    changes = await plan_topics(scene.connection, scene.specs)
    for change in changes:
        said = f"{change.name}: {change.details}"
        if change.action is Action.BY_HAND:
            remedy = "docs/operations.md tells how, under 'More partitions'"
            yield Finding("topics", Verdict.WARN, said, remedy)
        elif change.action is not Action.NOTHING:
            yield Finding("topics", Verdict.FAIL, said, "run `starlings topics ensure`")
    fine = sum(change.action is Action.NOTHING for change in changes)
    if fine == len(changes):
        yield Finding("topics", Verdict.OK, f"all {fine} as they have to be")


async def copies(scene: Scene) -> AsyncGenerator[Finding]:
    """Look at leaders, copies in sync, and what the loss of a broker would mean."""
    names = [spec.name for spec in scene.specs]
    cluster = await look_at_topics(scene.connection, names)
    settings = await effective_settings(scene.connection, list(cluster.topics))
    fine = 0
    for topic in cluster.topics.values():
        own = settings.get(topic.name, {})
        least = int(own.get(MIN_INSYNC) or 1)
        found = [*now(topic, least), *by_design(topic, least, own, cluster.brokers)]
        fine += not found
        for finding in found:
            yield finding
    brokers = "1 broker" if cluster.brokers == 1 else f"{cluster.brokers} brokers"
    if fine:
        yield Finding("copies", Verdict.OK, f"{fine} of {len(names)} topics are safe, on {brokers}")


def now(topic: TopicStanding, least: int) -> list[Finding]:
    """Say what is the case at this moment."""
    lost = [p for p in topic.partitions if p.leader is None]
    closed = [p for p in topic.partitions if p not in lost and len(p.in_sync) < least]
    behind = [
        p
        for p in topic.partitions
        if p not in lost and p not in closed and len(p.in_sync) < len(p.replicas)
    ]
    findings = []
    if lost:
        said = f"{topic.name}: no leader for {_numbers(lost)}; nothing is read or written there"
        remedy = f"bring the brokers {_missing(lost)} back"
        findings.append(Finding("copies", Verdict.FAIL, said, remedy))
    if closed:
        said = f"{topic.name}: fewer than {least} copies in sync of {_numbers(closed)}; no writes"
        remedy = f"bring the brokers {_missing(closed)} back"
        findings.append(Finding("copies", Verdict.FAIL, said, remedy))
    if behind:
        said = f"{topic.name}: copies are behind of {_numbers(behind)}"
        remedy = f"look at the brokers {_missing(behind)}: away, or too slow"
        findings.append(Finding("copies", Verdict.WARN, said, remedy))
    return findings


def by_design(
    topic: TopicStanding, least: int, own: dict[str, str | None], brokers: int
) -> list[Finding]:
    """Say what the settings mean once a broker is lost."""
    count = min((len(p.replicas) for p in topic.partitions), default=0)
    if count == 1:
        said = f"{topic.name}: one copy; a lost disk loses it"
        few = "" if brokers >= SAFE_COPIES else f" (this Kafka has {brokers})"
        return [Finding("copies", Verdict.WARN, said, f"3 brokers, replication 3{few}")]
    if count == least:
        said = f"{topic.name}: {count} copies, and {MIN_INSYNC}={least}: one broker away stops it"
        return [Finding("copies", Verdict.WARN, said, f"set {MIN_INSYNC}={max(count - 1, 1)}")]
    findings = []
    if least == 1:
        said = f"{topic.name}: {MIN_INSYNC}=1; what was acknowledged may lie on one broker only"
        findings.append(Finding("copies", Verdict.WARN, said, f"set {MIN_INSYNC}=2"))
    if own.get(UNCLEAN) == "true":
        said = f"{topic.name}: {UNCLEAN}=true; acknowledged facts may be lost"
        findings.append(Finding("copies", Verdict.FAIL, said, f"set {UNCLEAN}=false"))
    return findings


def _numbers(partitions: Sequence[Copies]) -> str:
    return "partitions " + ", ".join(str(p.number) for p in partitions)


def _missing(partitions: Sequence[Copies]) -> str:
    away = {b for p in partitions for b in p.replicas if b not in p.in_sync or p.leader is None}
    return ", ".join(str(broker) for broker in sorted(away))
