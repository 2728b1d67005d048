"""`starlings plan` and `starlings validate`: plans, without running them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from starlings.cli.guard import command, complain
from starlings.cli.options import AgentSpecs, Json

if TYPE_CHECKING:
    from starlings.messages import AgentDefined, Plan, PlanCreated, PlanRejected, Problem

PANEL = "Plans"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    command(app, "plan", rich_help_panel=PANEL)(plan)
    command(app, "validate", rich_help_panel=PANEL)(validate)


# -- plan ----------------------------------------------------------------------------------------


async def plan(
    request: Annotated[str, typer.Argument(help="What shall be done, in words.")],
    *,
    local: Annotated[
        bool, typer.Option("--local", help="With agents of this process, without Kafka.")
    ] = False,
    agents: AgentSpecs = None,
    yaml: Annotated[
        bool, typer.Option("--yaml", help="Print YAML, as --plan of `run` takes it.")
    ] = False,
    json: Json = False,
) -> int:
    """Plan a request, and run nothing.

    With the agents that are alive on Kafka; where none answers, with the built-in ones.
    """
    from starlings.agents.models import AgentModels  # noqa: PLC0415
    from starlings.cli.exits import Exit  # noqa: PLC0415 - `--help` stays fast
    from starlings.cli.local import announce_model  # noqa: PLC0415
    from starlings.messages import PlanRejected, RunRequested  # noqa: PLC0415
    from starlings.planning import Planner  # noqa: PLC0415

    known, alive = await _agents(agents or [], local=local or bool(agents))
    announce_model()
    async with AgentModels() as models:
        asked = RunRequested(request=request)
        outcome = await Planner(models.client("planner")).plan(
            asked, run_id="plan", agents=known, alive=alive
        )
    if isinstance(outcome, PlanRejected):
        _say_rejected(outcome, json=json)
        return Exit.REJECTED
    _print_plan(outcome, json=json, yaml=yaml)
    return Exit.OK


async def _agents(specs: list[str], *, local: bool) -> tuple[dict[str, AgentDefined], set[str]]:
    """Find the agents to plan with: the living ones, else those of this process."""
    from starlings.cli.local import agents_for  # noqa: PLC0415 - `--help` stays fast
    from starlings.cli.reach import client, is_demanded  # noqa: PLC0415
    from starlings.kafka.connection import KafkaSettings  # noqa: PLC0415
    from starlings.messages import ConfigError  # noqa: PLC0415
    from starlings.service import load_settings  # noqa: PLC0415

    if not local:
        try:
            async with client() as kafka:
                registry = await kafka.registry()
            return dict(registry.agents), registry.alive()
        except ConfigError:
            if is_demanded(load_settings(KafkaSettings)):
                raise
            complain("no Kafka answers here: planning with the built-in agents, as with --local")
    known = {agent.name: agent.definition() for agent in agents_for(specs)}
    return known, set(known)


def _say_rejected(outcome: PlanRejected, *, json: bool) -> None:
    from starlings.cli.printing import print_json  # noqa: PLC0415 - `--help` stays fast

    if json:
        print_json({"problems": _problem_documents(outcome.problems)})
        return
    complain("no plan could be made:")
    for problem in outcome.problems:
        complain(f"  - {problem}")


def _print_plan(outcome: PlanCreated, *, json: bool, yaml: bool) -> None:
    from starlings.choreography import begin  # noqa: PLC0415 - `--help` stays fast
    from starlings.cli.printing import clean, console, print_json, write  # noqa: PLC0415
    from starlings.cli.story import plan_tree  # noqa: PLC0415

    document = _plan_document(outcome.plan)
    if json:
        print_json(document)
    elif yaml:
        import yaml as pyyaml  # noqa: PLC0415

        write(pyyaml.safe_dump(document, sort_keys=False, allow_unicode=False).rstrip("\n"))
    else:
        run, _ = begin(outcome, offset=0, at_ms=0)
        out = console()
        out.print(plan_tree(run))
        if outcome.model:
            out.print(f"\nplanned by {clean(outcome.model)}", style="dim", markup=False)


def _plan_document(plan: Plan) -> dict[str, Any]:
    """Write a plan without what nobody has said."""
    return plan.model_dump(mode="json", exclude_defaults=True)


# -- validate ------------------------------------------------------------------------------------


async def validate(
    file: Annotated[str, typer.Argument(help="A YAML or JSON file, or - for standard input.")],
    *,
    agents: AgentSpecs = None,
    builtin: Annotated[
        bool, typer.Option("--builtin", help="Check against the built-in agents too.")
    ] = False,
    live: Annotated[
        bool, typer.Option("--live", help="Check against the agents that are alive on Kafka.")
    ] = False,
    json: Json = False,
) -> int:
    """Check a plan, and tell every problem; exit code 1 where there is one.

    Agents, tools and arguments are checked only where it is said against which.
    """
    from starlings.choreography import parse_plan  # noqa: PLC0415 - `--help` stays fast
    from starlings.cli.plan_files import called, read_plan_file  # noqa: PLC0415
    from starlings.messages import PlanInvalid  # noqa: PLC0415

    given = read_plan_file(file)
    known, alive = await _to_check_against(agents or [], builtin=builtin, live=live)
    problems: list[Problem] = []
    steps = 0
    try:
        steps = len(parse_plan(given["plan"], agents=known, alive=alive).steps)
    except PlanInvalid as invalid:
        problems = invalid.problems
    return _report(called(file), problems, steps, known, json=json)


async def _to_check_against(
    specs: list[str], *, builtin: bool, live: bool
) -> tuple[dict[str, AgentDefined] | None, set[str] | None]:
    from starlings.agents.loading import builtin_agents, load_agents  # noqa: PLC0415
    from starlings.cli.reach import client  # noqa: PLC0415

    if not (specs or builtin or live):
        return None, None
    known: dict[str, AgentDefined] = {}
    alive: set[str] = set()
    if live:
        async with client() as kafka:
            registry = await kafka.registry()
        known, alive = dict(registry.agents), registry.alive()
    loaded = [*(builtin_agents() if builtin else []), *(a for s in specs for a in load_agents(s))]
    known |= {agent.name: agent.definition() for agent in loaded}
    return known, alive | {agent.name for agent in loaded}


def _report(
    file: str,
    problems: list[Problem],
    steps: int,
    known: dict[str, AgentDefined] | None,
    *,
    json: bool,
) -> int:
    from starlings.cli.exits import Exit  # noqa: PLC0415 - `--help` stays fast
    from starlings.cli.printing import clean, print_json, printable  # noqa: PLC0415

    checked = sorted(known) if known is not None else None
    if json:
        document = {"ok": not problems, "steps": steps, "agents_checked": checked}
        print_json({**document, "problems": _problem_documents(problems)})
    elif problems:
        count = "1 problem" if len(problems) == 1 else f"{len(problems):,} problems"
        typer.echo(f"{clean(file)}: {count}")
        for problem in problems:
            typer.echo(printable(f"  - {problem}"))
    else:
        against = "agents not checked" if checked is None else f"agents: {', '.join(checked)}"
        typer.echo(f"{clean(file)}: fine, {steps:,} step{'s' if steps != 1 else ''} ({against})")
    return Exit.FAILED if problems else Exit.OK


def _problem_documents(problems: list[Problem]) -> list[dict[str, Any]]:
    return [problem.model_dump(mode="json") for problem in problems]
