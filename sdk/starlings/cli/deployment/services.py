"""Who is at work: groups and their lag, instances, their versions, their clocks."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator

from starlings.cli.checkup import MANY_WAITING, Finding, Verdict
from starlings.kafka.groups import group_state
from starlings.replay.clocks import clock_leads
from starlings.replay.groups import Group, GroupKind, Standing, list_groups, short, standing

from .looking import Scene

UNTOLD = "older, which tells none"
AHEAD_WARN_MS, AHEAD_FAIL_MS = 2_000, 10_000


async def groups(scene: Scene) -> AsyncGenerator[Finding]:
    """Compare each group's members and lag with its partitions and the registry's instances."""
    for group in await list_groups(scene.connection, scene.topics):
        found = await standing(scene.connection, group)
        yield _group(scene, found)
        instances = _instances(scene, group)
        members = len(found.state.members)
        if instances is not None and members and instances != members:
            said = f"{members} members, and {instances} instances in the registry"
            remedy = "one starts, stops, or hangs: look at its /readyz and its log"
            yield Finding(f"group {short(scene.topics, group)}", Verdict.WARN, said, remedy)


def _group(scene: Scene, found: Standing) -> Finding:
    group, members = found.group, len(found.state.members)
    what = f"group {short(scene.topics, group)}"
    waiting = f"{found.pending:,} waiting in {group.topic}"
    if not members:
        return _empty(scene, found, what, waiting)
    count = "1 member" if members == 1 else f"{members} members"
    said = f"{count} for {len(found.positions)} partitions, {waiting}"
    unowned = {p.place for p in found.positions} - {
        place for member in found.state.members for place in member.places
    }
    if unowned and found.state.state == "Stable":
        numbers = ", ".join(str(place.partition) for place in sorted(unowned))
        remedy = "restart its members: they do not know of those partitions"
        return Finding(what, Verdict.FAIL, f"{said}; nobody has partitions {numbers}", remedy)
    if members > len(found.positions):
        remedy = "fewer replicas, or more partitions: `starlings topics grow`"
        idle = members - len(found.positions)
        return Finding(what, Verdict.WARN, f"{said}; {idle} have nothing to do", remedy)
    if found.pending > MANY_WAITING * members:
        remedy = "if that goes on growing, start more replicas"
        return Finding(what, Verdict.WARN, said, remedy)
    return Finding(what, Verdict.OK, said)


def _empty(scene: Scene, found: Standing, what: str, waiting: str) -> Finding:
    group, agent = found.group, scene.registry.agents.get(found.group.agent)
    said = f"nobody is at work; {waiting}"
    if group.kind in (GroupKind.PLANNER, GroupKind.COORDINATOR):
        return Finding(what, Verdict.FAIL, said, f"start the {group.kind.value}")
    if agent is None and not found.pending:
        return Finding(what, Verdict.OK, f"{said}; its agent is not registered any more")
    if agent is not None and agent.scales_from_zero:
        if not found.pending:
            return Finding(what, Verdict.OK, f"{said}; it scales from zero")
        remedy = "it scales from zero: does its autoscaler see the lag of this group?"
        return Finding(what, Verdict.WARN, said, remedy)
    verdict = Verdict.FAIL if found.pending else Verdict.WARN
    return Finding(what, verdict, said, f"start the agent {group.agent}, if it shall be there")


def _instances(scene: Scene, group: Group) -> int | None:
    """Count who says in the registry that he serves a group; None where they do not say it."""
    if group.kind is not GroupKind.STEPS:
        return None
    served = [
        f"{each.agent}.{each.variant}" if each.variant else each.agent
        for each in scene.registry.instances()
    ]
    return served.count(group.serves)


async def versions(scene: Scene) -> AsyncGenerator[Finding]:
    """See which versions are at work."""
    found: Counter[str] = Counter()
    of: dict[str, set[str]] = {}
    for group in await list_groups(scene.connection, scene.topics):
        state = await group_state(scene.connection, group.id)
        for member in state.members:
            version = member.version or UNTOLD
            found[version] += 1
            of.setdefault(version, set()).add(short(scene.topics, group))
    if len(found) <= 1:
        said = next((f"{version} everywhere" for version in found), "nobody is at work")
        yield Finding("versions", Verdict.OK, said)
        return
    parts = [
        f"{version}: {count} ({', '.join(sorted(of[version]))})"
        for version, count in sorted(found.items())
    ]
    remedy = "fine while an upgrade is under way; else finish it"
    yield Finding("versions", Verdict.WARN, "; ".join(parts), remedy)


async def clocks(scene: Scene) -> AsyncGenerator[Finding]:
    """Compare the clocks of instances with those of the brokers."""
    leads = await clock_leads(scene.connection, scene.topics)
    wrong = {who: ms for who, ms in leads.items() if abs(ms) > AHEAD_WARN_MS}
    for who, ms in sorted(wrong.items()):
        verdict = Verdict.FAIL if abs(ms) > AHEAD_FAIL_MS else Verdict.WARN
        where = "ahead of" if ms > 0 else "behind"
        said = f"{who} is {abs(ms) / 1000:.1f} s {where} the brokers"
        remedy = "let its machine keep time (NTP): timeouts are as wrong as the coordinator's clock"
        yield Finding("clocks", verdict, said, remedy)
    if not wrong:
        said = f"{len(leads)} instances within {AHEAD_WARN_MS / 1000:.0f} s of the brokers"
        yield Finding("clocks", Verdict.OK, said if leads else "nobody has written anything lately")
