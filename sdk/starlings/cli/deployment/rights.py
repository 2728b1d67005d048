"""What this Kafka user may do, and which programs may therefore run as it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from dataclasses import replace

from starlings.cli.checkup import Finding, Verdict
from starlings.kafka.standing import look_at_topics, rights_in_groups
from starlings.messages import AgentDefined, ConfigError
from starlings.messages.access import (
    Resource,
    Right,
    lacking,
    rights_of_agent,
    rights_of_client,
    rights_of_coordinator,
    rights_of_operator,
    rights_of_planner,
    rights_of_watcher,
)

from .looking import Scene

NAMED = 4


async def rights(scene: Scene) -> AsyncGenerator[Finding]:
    """Hold what each program needs against what this user may do.

    A user who may not be something is nothing wrong, unless he is said to have to be.
    """
    needs = needs_of(scene)
    unknown = [name for name in scene.looking.services if name not in needs]
    if unknown:
        raise ConfigError(f"no program is named {unknown[0]!r}; there are: {', '.join(needs)}")
    names = sorted(n for n in await scene.connection.topic_names())
    names = [name for name in names if name.startswith(scene.topics.prefix)]
    groups = _named(Resource.GROUP, needs)
    cluster = await look_at_topics(scene.connection, names)
    may = [topic.right for topic in cluster.topics.values()]
    may += await rights_in_groups(scene.connection, groups)
    may_be = []
    for service, needed in needs.items():
        missing = lacking(_spread(needed, names, groups), may)
        if not missing:
            may_be.append(service)
        elif service in scene.looking.services:
            said = f"this user may not be {service}: it lacks {_said(missing)}"
            remedy = f"`starlings topics acls {service}` lists what it needs"
            yield Finding("rights", Verdict.FAIL, said, remedy)
    user = scene.connection.settings.sasl_username or "this user"
    yield Finding("rights", Verdict.OK, f"{user} may be: {', '.join(may_be) or 'none of them'}")


def needs_of(scene: Scene) -> dict[str, list[Right]]:
    """List what each program of an installation needs, by name."""
    topics = scene.topics
    needs = {
        "planner": rights_of_planner(topics),
        "coordinator": rights_of_coordinator(topics),
        "client": rights_of_client(topics),
        "watcher": rights_of_watcher(topics),
        "operator": rights_of_operator(topics),
    }
    for served, (agent, variant) in scene.served.items():
        definition = scene.registry.agents.get(agent) or AgentDefined(agent=agent)
        needs[served] = rights_of_agent(topics, definition, variant)
    return needs


def _named(resource: Resource, needs: dict[str, list[Right]]) -> list[str]:
    found = (r for rights in needs.values() for r in rights if r.resource is resource)
    return sorted({right.name for right in found if not right.prefixed})


def _spread(needed: Iterable[Right], topics: Sequence[str], groups: Sequence[str]) -> list[Right]:
    """Write a right to all names that begin so as rights to those that there are."""
    rights = []
    for right in needed:
        known = topics if right.resource is Resource.TOPIC else groups
        names = [n for n in known if n.startswith(right.name)] if right.prefixed else [right.name]
        rights += [replace(right, name=name, prefixed=False) for name in names]
    return rights


def _said(missing: Sequence[Right]) -> str:
    some = [f"{', '.join(r.operations)} on {r.resource} {r.name}" for r in missing[:NAMED]]
    more = len(missing) - len(some)
    return "; ".join(some) + (f"; and {more} more" if more else "")
