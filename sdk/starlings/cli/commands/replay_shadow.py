"""`starlings replay shadow`: real work through a candidate, compared with what was done then."""

from __future__ import annotations

import re
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from starlings.cli.event_options import Since, Until
from starlings.cli.guard import command, complain
from starlings.cli.options import Json

if TYPE_CHECKING:
    from starlings.agents import Agent
    from starlings.client import Client
    from starlings.replay.shadow import Candidate, Shadow
    from starlings.replay.shadow_report import Report
    from starlings.replay.shadow_work import Work

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
USUAL_NAME = "candidate"


def register(group: typer.Typer) -> None:
    """Add the command."""
    command(group, "shadow")(shadow)


async def shadow(
    *,
    agent: Annotated[str, typer.Option("--agent", metavar="NAME", help="Whose real work it is.")],
    candidate: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE:AGENT", help="Who does it again; else NAME as it is installed here."
        ),
    ] = None,
    variant: Annotated[
        str | None, typer.Option(metavar="NAME", help="Do it as this variant; also names it.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Of the shadow: one of the same name goes on where it was.")
    ] = None,
    since: Since = None,
    until: Until = None,
    runs: Annotated[
        list[str] | None,
        typer.Option("--run", metavar="RUN", help="Only of this run; may be repeated."),
    ] = None,
    judge: Annotated[
        bool, typer.Option("--judge", help="Ask a model whether different outputs mean the same.")
    ] = False,
    live_reads: Annotated[
        bool, typer.Option("--live-reads", help="Call tools that are declared idempotent.")
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Begin anew, counting nothing older.")
    ] = False,
    concurrency: Annotated[int | None, typer.Option(min=1, help="Steps at once.")] = None,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="FILE", help="Write a line per step (JSONL).")
    ] = None,
    json: Json = False,
) -> int:
    """Put recorded steps of an agent through a candidate, and compare what it gives.

    It has a group and a topic of its own; effects are answered from the record or refused. Exit
    code 8 where results differ or the candidate fails, 1 where nothing could be compared.
    """
    from starlings.cli.following import run_named  # noqa: PLC0415 - `--help` stays fast
    from starlings.cli.reach import client  # noqa: PLC0415
    from starlings.cli.shadow_pages import print_shadow, shadow_exit, write_report  # noqa: PLC0415

    called = _name(name or variant or USUAL_NAME)
    if report is not None and not report.parent.is_dir():
        raise typer.BadParameter(f"--report: there is no folder {report.parent}")
    loaded = _load(agent, candidate)
    async with AsyncExitStack() as stack:
        kafka = await stack.enter_async_context(client())
        named = [(await run_named(kafka, each)).run_id for each in runs or []]
        work = await _work(kafka, agent, since, until, named)
        who = await _candidate(stack, loaded, called, variant=variant, live_reads=live_reads)
        made = await _shadow(stack, kafka, agent, who, work, judge=judge, concurrency=concurrency)
        await made.run(anew=again)
        found = await _report(kafka, made)
    if report is not None:
        write_report(report, found)
    print_shadow(made, found, json=json)
    return shadow_exit(found)


def _name(text: str) -> str:
    if not NAME.fullmatch(text):
        raise typer.BadParameter(
            f"{text!r} cannot name a shadow: take lower-case letters, digits, '_' and '-'"
        )
    return text


def _load(name: str, spec: str | None) -> Agent:
    from starlings.agents.loading import find_agent, load_agent  # noqa: PLC0415 - fast `--help`
    from starlings.replay.shadow import check_candidate  # noqa: PLC0415

    agent = load_agent(spec) if spec is not None else find_agent(name, option="--candidate")
    check_candidate(agent)
    return agent


async def _work(
    kafka: Client, agent: str, since: int | None, until: int | None, runs: list[str]
) -> Work:
    from starlings.cli.times import iso  # noqa: PLC0415 - `--help` stays fast
    from starlings.replay.shadow_work import work_of_window  # noqa: PLC0415

    work = await work_of_window(
        kafka.connection, kafka.topics, agent, since_ms=since, until_ms=until, runs=runs
    )
    cut = [r for r in work.cut if since is None or r.begin_ms is None or since < r.begin_ms]
    if cut:
        left = [r.begin_ms for r in cut if r.begin_ms is not None]
        where = f"it is complete from {iso(max(left))}" if left else "nothing of it is left"
        numbers = ", ".join(str(r.partition) for r in cut)
        complain(
            f"retention has deleted the beginning of this window in the partitions {numbers}: "
            f"{where} there"
        )
    return work


async def _candidate(
    stack: AsyncExitStack, agent: Agent, name: str, *, variant: str | None, live_reads: bool
) -> Candidate:
    from starlings.agents.models import AgentModels  # noqa: PLC0415 - `--help` stays fast
    from starlings.replay.shadow import Candidate  # noqa: PLC0415

    models = await stack.enter_async_context(AgentModels())
    model = models.of(agent)
    return Candidate(agent, name, model=model, live_reads=live_reads, variant=variant)


async def _shadow(
    stack: AsyncExitStack,
    kafka: Client,
    agent: str,
    candidate: Candidate,
    work: Work,
    *,
    judge: bool,
    concurrency: int | None,
) -> Shadow:
    from starlings.agents.models import AgentModels  # noqa: PLC0415 - `--help` stays fast
    from starlings.kafka.publisher import Publisher  # noqa: PLC0415
    from starlings.replay.shadow import Shadow  # noqa: PLC0415
    from starlings.replay.shadow_judge import NAME as JUDGE  # noqa: PLC0415

    models = await stack.enter_async_context(AgentModels())
    publisher = Publisher(kafka.connection, kafka.codec)
    await publisher.start()
    stack.push_async_callback(publisher.stop)
    return Shadow(
        connection=kafka.connection,
        codec=kafka.codec,
        publisher=publisher,
        topics=kafka.topics,
        served=agent,
        candidate=candidate,
        work=work,
        judge=models.client(JUDGE) if judge else None,
        concurrency=concurrency,
    )


async def _report(kafka: Client, made: Shadow) -> Report:
    from starlings.replay.shadow_report import read_report  # noqa: PLC0415 - `--help` stays fast

    return await read_report(kafka.connection, kafka.codec, made.topic, session=made.session)
