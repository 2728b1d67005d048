"""`starlings topics acls`: what each program needs to be allowed on a Kafka with ACLs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from starlings.cli.guard import command
from starlings.cli.options import Json

if TYPE_CHECKING:
    from starlings.messages import Topics
    from starlings.messages.access import Right

Service = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="SERVICE",
        help="planner, coordinator, client, watcher, operator, or an agent's name, as math.large; "
        "none: the first five.",
    ),
]


def register(topics: typer.Typer) -> None:
    """Add the command."""
    command(topics, "acls")(acls)


def acls(
    service: Service = None,
    *,
    principal: Annotated[
        str | None,
        typer.Option(help="User:name of all of them; else User: and the program's own name."),
    ] = None,
    json: Json = False,
) -> None:
    """List the rights of programs, as arguments of Apache Kafka's kafka-acls.sh; asks no Kafka.

    An agent is known by its package, where that is installed here; else it is taken for one that
    takes steps, and neither hears of events nor emits any.
    """
    from starlings.cli.printing import print_json  # noqa: PLC0415 - `--help` stays fast
    from starlings.service import ServiceSettings, load_settings  # noqa: PLC0415

    topics = load_settings(ServiceSettings).topics
    needs = _needs(topics, service or [])
    if json:
        print_json({name: [_document(right) for right in rights] for name, rights in needs.items()})
        return
    for name, rights in needs.items():
        for right in rights:
            typer.echo(_arguments(right, principal or f"User:{name}"))


def _needs(topics: Topics, names: list[str]) -> dict[str, list[Right]]:
    from starlings.cli.topic_names import definition_of  # noqa: PLC0415 - `--help` stays fast
    from starlings.messages import access  # noqa: PLC0415

    core = {
        "planner": access.rights_of_planner,
        "coordinator": access.rights_of_coordinator,
        "client": access.rights_of_client,
        "watcher": access.rights_of_watcher,
        "operator": access.rights_of_operator,
    }
    needs = {}
    for name in names or core:
        agent, _, variant = name.partition(".")
        if name in core:
            needs[name] = core[name](topics)
        else:
            needs[name] = access.rights_of_agent(topics, definition_of(agent), variant or None)
    return needs


def _document(right: Right) -> dict[str, Any]:
    return {
        "resource": right.resource.value,
        "name": right.name,
        "pattern": "prefixed" if right.prefixed else "literal",
        "operations": [operation.value for operation in right.operations],
    }


def _arguments(right: Right, principal: str) -> str:
    operations = " ".join(f"--operation {operation.value}" for operation in right.operations)
    pattern = "prefixed" if right.prefixed else "literal"
    return (
        f"--add --allow-principal {principal} --{right.resource.value} {right.name} "
        f"--resource-pattern-type {pattern} {operations}"
    )
