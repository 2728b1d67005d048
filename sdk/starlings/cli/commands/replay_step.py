"""`starlings replay step`: one recorded step, run again here, beside what came of it then."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from starlings.cli.event_options import FromFile
from starlings.cli.guard import command
from starlings.cli.options import LATEST, Json, RunName

if TYPE_CHECKING:
    from pathlib import Path

    from starlings.agents import Agent
    from starlings.replay.recorded_attempt import FiledLog, LiveLog, RecordedAttempt
    from starlings.replay.step_again import Again


class AnswersFrom(StrEnum):
    """As `starlings.replay.Answers`, which takes time to import."""

    RECORDED = "recorded"
    RECORDED_THEN_LIVE = "recorded-then-live"
    LIVE = "live"


def register(group: typer.Typer) -> None:
    """Add the command."""
    command(group, "step")(replay_step)


async def replay_step(
    run: RunName,
    step: Annotated[str, typer.Argument(metavar="STEP", help="Its id within the plan.")],
    *,
    attempt: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Which attempt; unless given, the last.")
    ] = None,
    agent: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE:AGENT",
            help="Its code (or FILE:AGENT); else what this folder or a package offers by its name.",
        ),
    ] = None,
    answers: Annotated[
        AnswersFrom,
        typer.Option(help="Where answers of models, tools and `ctx.once` come from."),
    ] = AnswersFrom.RECORDED,
    no_effects: Annotated[
        bool,
        typer.Option(
            "--no-effects", help="Make no call of a tool or `ctx.once` that is not recorded."
        ),
    ] = False,
    pdb: Annotated[
        bool, typer.Option("--pdb", help="Stop in the agent's functions, and where they fail.")
    ] = False,
    publish: Annotated[
        bool,
        typer.Option(
            "--publish", help="Do it for real: publish the result, where the run waits for it."
        ),
    ] = False,
    from_file: FromFile = None,
    json: Json = False,
) -> int:
    """Run a recorded step again on this machine, and compare what comes of it.

    It gets what it was given then; its calls are answered from the record. Nothing is published
    unless --publish. Exit code 8: something else came of it.
    """
    _check(pdb=pdb, json=json, publish=publish, from_file=from_file)
    async with _opened(from_file) as log:
        found = await _find(log, run, step, attempt)
        code = _code(found, agent, publish=publish)
        if publish:
            _refuse_settled(found)
        again = await _run(
            code,
            found,
            answers=answers,
            no_effects=no_effects,
            pdb=pdb,
            replaying=not publish,
            silent=json,
        )
        if publish:
            await _publish(log, found, again)
    return _show(found, again, published=publish, json=json)


def _check(*, pdb: bool, json: bool, publish: bool, from_file: Path | None) -> None:
    if pdb and json:
        raise typer.BadParameter("--pdb talks to a person, --json to a program: give one of them")
    if publish and from_file is not None:
        raise typer.BadParameter("--publish needs the live log: leave --from out")


@asynccontextmanager
async def _opened(from_file: Path | None) -> AsyncGenerator[LiveLog | FiledLog]:
    from starlings.blobs import BlobStore  # noqa: PLC0415 - `--help` stays fast
    from starlings.cli.reach import client  # noqa: PLC0415
    from starlings.kafka.codec import Codec  # noqa: PLC0415
    from starlings.replay import read_archive  # noqa: PLC0415
    from starlings.replay.carried_blobs import blobs_of  # noqa: PLC0415
    from starlings.replay.recorded_attempt import FiledLog, LiveLog  # noqa: PLC0415
    from starlings.service import ServiceSettings, load_settings  # noqa: PLC0415

    if from_file is not None:
        archive = read_archive(from_file)
        store = BlobStore(load_settings(ServiceSettings).blobs_url)
        with blobs_of(archive, store) as blobs:
            yield FiledLog(archive, Codec(source="starlings/cli", blobs=blobs))
        return
    async with client() as kafka:
        yield LiveLog(kafka)


async def _find(
    log: LiveLog | FiledLog, run: str, step: str, attempt: int | None
) -> RecordedAttempt:
    from starlings.cli.event_source import latest_in  # noqa: PLC0415 - `--help` stays fast
    from starlings.cli.following import latest_run  # noqa: PLC0415
    from starlings.replay.recorded_attempt import FiledLog, find_attempt  # noqa: PLC0415

    if run == LATEST:
        run = latest_in(log.archive) if isinstance(log, FiledLog) else await latest_run(log.client)
    return await find_attempt(log, run, step, attempt)


def _code(found: RecordedAttempt, spec: str | None, *, publish: bool) -> Agent:
    from starlings.agents.loading import find_agent  # noqa: PLC0415 - `--help` stays fast
    from starlings.messages import ConfigError  # noqa: PLC0415

    agent = find_agent(found.ready.agent, spec)
    if publish and agent.name != found.ready.agent:
        raise ConfigError(
            f"--publish: the step is of agent {found.ready.agent!r}, and {spec} is {agent.name!r}; "
            "only its own agent can answer for it"
        )
    return agent


def _refuse_settled(found: RecordedAttempt) -> None:
    from starlings.messages import CommandRefused  # noqa: PLC0415 - `--help` stays fast

    if found.why_settled is not None:
        raise CommandRefused(
            f"attempt {found.ready.attempt} of step {found.ready.step_id!r} takes no result: "
            f"{found.why_settled}; without --publish it can be run again all the same"
        )


async def _run(
    agent: Agent,
    found: RecordedAttempt,
    *,
    answers: AnswersFrom,
    no_effects: bool,
    pdb: bool,
    replaying: bool,
    silent: bool,
) -> Again:
    from starlings.agents.models import AgentModels  # noqa: PLC0415 - `--help` stays fast
    from starlings.cli.again_page import show_progress  # noqa: PLC0415
    from starlings.replay import Answers  # noqa: PLC0415
    from starlings.replay.debugging import debugged  # noqa: PLC0415
    from starlings.replay.step_again import run_again, without_limit  # noqa: PLC0415

    async def progress(said: Any) -> None:
        if not silent:
            show_progress(said)

    async with AsyncExitStack() as stack:
        models = await stack.enter_async_context(AgentModels())
        if pdb:
            stack.enter_context(debugged())
            found = without_limit(found)  # whoever debugs takes the time that it takes
        return await run_again(
            agent,
            found,
            answers=Answers(answers.value),
            refuse_effects=no_effects,
            model=models.of(agent),
            heartbeat=progress,
            replaying=replaying,
        )


async def _publish(log: LiveLog | FiledLog, found: RecordedAttempt, again: Again) -> None:
    """Publish the result, unless the run has gone on without it meanwhile."""
    from starlings.messages import attempt_id  # noqa: PLC0415 - `--help` stays fast
    from starlings.replay.recorded_attempt import FiledLog, find_attempt  # noqa: PLC0415

    if isinstance(log, FiledLog):
        return  # was refused at the start
    ready = found.ready
    _refuse_settled(await find_attempt(log, ready.run_id, ready.step_id, ready.attempt))
    ident = attempt_id(ready.run_id, ready.step_id, ready.attempt, again.done.NAME)
    await log.client.publish_fact(ready.run_id, again.done, ident, replay=f"step {found.name}")


def _show(found: RecordedAttempt, again: Again, *, published: bool, json: bool) -> int:
    from starlings.cli.again_page import again_document, print_again  # noqa: PLC0415 - as above
    from starlings.cli.exits import Exit  # noqa: PLC0415
    from starlings.cli.printing import console, print_json  # noqa: PLC0415
    from starlings.messages import StepOutcome  # noqa: PLC0415
    from starlings.replay.step_again import differences  # noqa: PLC0415

    found_differences = differences(found.done, again.done) if found.done is not None else None
    if json:
        print_json(again_document(found, again, found_differences, published=published))
    else:
        print_again(console(), found, again, found_differences, published=published)
    if found_differences is None:
        return Exit.OK if again.done.outcome is StepOutcome.OK else Exit.FAILED
    return Exit.DIFFERENT if found_differences else Exit.OK
