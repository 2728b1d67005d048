"""What `starlings replay fork` reads, and what it tells of a fork."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from starlings.choreography.context import as_text
from starlings.client import Client, RunNotFound
from starlings.messages import InheritedResult, ModelOverride, RunForked, Step
from starlings.replay.forking import Known, Wishes
from starlings.replay.recorded import RecordedRun, read_runs
from starlings.replay.selection import Selection

from .event_source import opened
from .options import LATEST
from .plan_files import read_plan_file
from .printing import clean, print_table, say

KEPT = "kept"
RUNS = "runs"


def wishes_of(
    from_step: str | None,
    plan: str | None,
    of_run: Mapping[str, Any],
    of_steps: Mapping[str, Mapping[str, Any]],
    variants: Mapping[str, str],
) -> Wishes:
    """Put together what shall be otherwise; the plan is read from its file.

    Raises:
        ConfigError: the file cannot be read.
    """
    given = read_plan_file(plan)["plan"] if plan is not None else None
    return Wishes(from_step, given, of_run, of_steps, variants)


async def recorded_run(
    name: str, *, from_file: Path | None, until: int | None = None
) -> RecordedRun:
    """Read a run from Kafka, or from an archive."""
    (run,) = await recorded_runs([name], from_file=from_file, until=until)
    return run


async def recorded_runs(
    names: list[str], *, from_file: Path | None, until: int | None = None
) -> list[RecordedRun]:
    """Read runs in one go, from Kafka or from an archive; in the order of their names.

    Raises:
        RunNotFound: there is no fact of one.
    """
    async with opened(Selection(runs=frozenset(names)), from_file=from_file) as found:
        entries, events = found.selected().entries(), found.topics.events
        runs = await read_runs(entries, found.selection.runs, topic=events, until=until)
        told = [runs[_id(name, names, found.selection.runs)] for name in names]
    for run in told:
        if not run.now.facts and not run.unreadable:
            where = f"in {from_file}" if from_file else "in the log; `starlings runs` lists them"
            raise RunNotFound(f"there is no run {run.run_id!r} {where}")
    return told


def _id(name: str, names: Collection[str], found: Collection[str]) -> str:
    """Say which run is meant by `latest`: the one that nobody has named, or else all of them."""
    if name != LATEST:
        return name
    return next((run_id for run_id in found if run_id not in names), next(iter(found)))


async def known_agents(kafka: Client) -> Known:
    """See who there is to do the steps of a fork."""
    registry = await kafka.registry()
    instances = registry.instances()
    variants = {(each.agent, each.variant) for each in instances if each.variant is not None}
    return Known(dict(registry.agents), registry.alive(), variants)


# -- in words --------------------------------------------------------------------------------------


def fork_document(fact: RunForked) -> dict[str, Any]:
    """Say what a fork keeps, and what it does."""
    kept = [result.step_id for result in fact.inherited]
    steps = [step.model_dump(mode="json", exclude_none=True) for step in _new(fact)]
    return {
        "from_run": fact.from_run,
        "from_offset": fact.from_offset,
        "changed": fact.changed,
        "kept": kept,
        "runs": steps,
        "options": fact.options.model_dump(mode="json", exclude_none=True),
    }


def print_fork(console: Console, fact: RunForked) -> None:
    """Print which run is forked, what is otherwise, what is kept and what runs."""
    origin = f"{fact.from_run}, as of offset {fact.from_offset}"
    say(console, Text(clean(origin)), head="Fork of  ", style="bold")
    if fact.changed:
        say(console, Text(clean("; ".join(fact.changed), 1_000)), head="Changed  ", style="bold")
    console.print()
    kept = {result.step_id: _came_to(result) for result in fact.inherited}
    steps = {step.id: step for step in fact.plan.steps}
    rows: list[list[str | Text]] = []
    for name, step in steps.items():
        if name in kept:
            rows.append([Text(KEPT, style="dim"), name, step.agent, clean(kept[name])])
        else:
            rows.append([Text(RUNS, style="green"), name, _served_by(fact, step), _how(fact, step)])
            items = [item for item in kept if item.rpartition("[")[0] == name]
            if items:
                said = f"{len(items):,} of its items are"
                rows[-1][-1] = f"{said} {KEPT}; {rows[-1][-1]}".rstrip("; ")
    print_table(console, ("", "step", "agent", ""), rows, one_line=True)


def _came_to(result: InheritedResult) -> str:
    if result.skipped:
        return "skipped"
    return as_text(result.output) if result.summary is None else result.summary


def _new(fact: RunForked) -> list[Step]:
    kept = {result.step_id for result in fact.inherited}
    return [step for step in fact.plan.steps if step.id not in kept]


def _served_by(fact: RunForked, step: Step) -> str:
    chosen = [
        name for name, share in fact.options.routing.get(step.agent, {}).items() if share == 1
    ]
    return f"{step.agent}.{chosen[0]}" if chosen else step.agent


def _how(fact: RunForked, step: Step) -> str:
    told = step.model.over(fact.options.model) if step.model else fact.options.model
    parts = [] if told is None else [f"{name}={value}" for name, value in _said(told)]
    task = clean(step.task, 100)
    return "; ".join([*parts, task] if task else parts)


def _said(told: ModelOverride) -> list[tuple[str, Any]]:
    given = told.model_dump(exclude_none=True)
    return [(name, clean(value, 40)) for name, value in given.items()]
