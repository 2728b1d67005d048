"""`starlings agents` and `starlings agent run`: who is there, and running one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from starlings.cli.exits import EPILOG
from starlings.cli.guard import command, complain
from starlings.cli.options import Json

from .agent_try import try_agent

if TYPE_CHECKING:
    from starlings.agents.cooldown import Cooldown
    from starlings.agents.registry import Registry
    from starlings.messages import AgentAlive, AgentDefined

PANEL = "Agents"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    command(app, "agents", rich_help_panel=PANEL)(agents)
    agent = typer.Typer(help="Run an agent, or try it once.", no_args_is_help=True, epilog=EPILOG)
    agent.callback()(_alone)
    command(agent, "run")(run)
    command(agent, "try")(try_agent)
    app.add_typer(agent, name="agent", rich_help_panel=PANEL)


def _alone() -> None:
    """Run an agent, or try it once."""


async def agents(
    name: Annotated[str | None, typer.Argument(help="Show all of this one.")] = None,
    *,
    json: Json = False,
) -> int:
    """List the agents that are known, and how many instances of each are alive."""
    from starlings.cli.documents import agent_document  # noqa: PLC0415 - `--help` stays fast
    from starlings.cli.printing import print_json  # noqa: PLC0415
    from starlings.cli.reach import client  # noqa: PLC0415
    from starlings.messages import ConfigError  # noqa: PLC0415

    async with client() as kafka:
        registry = await kafka.registry()
    if name is not None and name not in registry.agents:
        known = ", ".join(sorted(registry.agents)) or "none"
        raise ConfigError(f"no agent {name!r} is known; there are: {known}")
    names = [name] if name else sorted(registry.agents)
    if json:
        print_json(
            [
                agent_document(registry.agents[n], _instances(registry, n), registry.cooldown(n))
                for n in names
            ]
        )
    elif name:
        _print_agent(registry.agents[name], _instances(registry, name), registry.cooldown(name))
    elif names:
        _print_agents(registry, names)
    else:
        complain("no agent is known yet; start one: starlings agent run module:agent")
    return 0


def _instances(registry: Registry, name: str) -> list[AgentAlive]:
    found = [instance for instance in registry.instances() if instance.agent == name]
    return sorted(found, key=lambda instance: instance.instance)


def _print_agents(registry: Registry, names: list[str]) -> None:
    from rich.text import Text  # noqa: PLC0415 - `--help` stays fast

    from starlings.cli.printing import clean, console, print_table  # noqa: PLC0415
    from starlings.cli.times import duration_text  # noqa: PLC0415

    rows: list[list[str | Text]] = []
    for name in names:
        definition, instances = registry.agents[name], _instances(registry, name)
        running = sum(instance.running for instance in instances)
        room = sum(instance.concurrency for instance in instances)
        alive = Text(_alive(instances), style="green" if instances else "red")
        busy = f"{running} of {room} at work" if instances else ""
        if (cooldown := registry.cooldown(name)) is not None:
            busy = f"cooling down, {duration_text(cooldown.remaining_s)}"
        rows.append(
            [Text(name, style="cyan"), alive, busy, _has(definition), clean(definition.description)]
        )
    print_table(console(), ("agent", "", "", "has", "what it can do"), rows)


def _alive(instances: list[AgentAlive]) -> str:
    """Count those alive, and of them those of each variant: `3 alive (1 large)`."""
    variants: dict[str, int] = {}
    for instance in instances:
        if instance.variant:
            variants[instance.variant] = variants.get(instance.variant, 0) + 1
    of_them = ", ".join(f"{count} {name}" for name, count in sorted(variants.items()))
    return f"{len(instances)} alive" + (f" ({of_them})" if of_them else "")


def _has(definition: AgentDefined) -> str:
    parts = []
    if definition.takes_steps:
        parts.append(f"{len(definition.tools)} tools" if definition.tools else "a step")
    if definition.listens:
        parts.append(f"listens to {', '.join(definition.listens)}")
    return "; ".join(parts)


def _print_agent(
    definition: AgentDefined, instances: list[AgentAlive], cooldown: Cooldown | None
) -> None:
    from rich.text import Text  # noqa: PLC0415 - `--help` stays fast

    from starlings.cli.printing import clean, console, print_table  # noqa: PLC0415
    from starlings.cli.times import duration_text  # noqa: PLC0415

    out = console()
    out.print(Text.assemble((definition.agent, "bold cyan"), f"  version {definition.version}"))
    out.print(Text(clean(definition.description, 2_000)))
    out.print(Text(_how_many(definition, instances), style="green" if instances else "red"))
    if cooldown is not None:
        waits = f"cooling down for {duration_text(cooldown.remaining_s)}: {cooldown.reason}"
        out.print(Text(clean(waits, 1_000), style="yellow"))
    for instance in instances:
        busy = f"{instance.running} of {instance.concurrency} at work"
        variant = f"  variant {clean(instance.variant)}" if instance.variant else ""
        out.print(Text(f"  {clean(instance.instance)}  {busy}{variant}"))
    for says, types in (("listens to", definition.listens), ("emits", definition.emits)):
        if types:
            out.print(Text(f"{says} {', '.join(types)}"))
    if definition.tools:
        out.print()
        rows = [
            [
                clean(f"{t.name}({', '.join(t.parameters.get('properties', {}))})"),
                clean(t.description),
            ]
            for t in definition.tools
        ]
        print_table(out, ("tool", "what it does"), rows)


def _how_many(definition: AgentDefined, instances: list[AgentAlive]) -> str:
    if instances:
        return _alive(instances)
    rest = "; it scales from zero" if definition.scales_from_zero else ""
    return f"none alive{rest}"


def run(
    agent: Annotated[
        list[str],
        typer.Argument(
            metavar="AGENT...",
            help="module:agent, folder/file.py:agent, or the name of an installed one.",
        ),
    ],
    *,
    concurrency: Annotated[int | None, typer.Option(min=1, help="Steps at once.")] = None,
    variant: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Serve as this variant of the agent (large, canary, …), with a topic of its own.",
        ),
    ] = None,
    ensure_topics: Annotated[
        bool, typer.Option("--ensure-topics", help="Create the agent's topics where missing.")
    ] = False,
) -> int:
    """Run agents as a service until SIGTERM or Ctrl-C.

    Settings come from the environment: KAFKA_…, STARLINGS_…, OPENAI_….
    """
    from starlings.agents.loading import load_agents  # noqa: PLC0415 - `--help` stays fast
    from starlings.agents.service import run_agents  # noqa: PLC0415
    from starlings.cli.reach import use_local_broker  # noqa: PLC0415

    loaded = [each for spec in agent for each in load_agents(spec)]
    use_local_broker()
    if concurrency is not None:
        os.environ["STARLINGS_CONCURRENCY"] = str(concurrency)
    if variant is not None:
        os.environ["STARLINGS_VARIANT"] = variant
    if ensure_topics:
        os.environ["STARLINGS_ENSURE_TOPICS"] = "true"
    return run_agents(loaded)
