"""Work that waits for somebody: runs that stand still, what is not undone, dead letters."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncGenerator
from datetime import UTC, datetime

from starlings.cli.checkup import Finding, Verdict
from starlings.cli.reach import client
from starlings.cli.times import duration_text
from starlings.kafka.letters import LetterState
from starlings.kafka.letters_view import read_letters
from starlings.messages import RunOutcome
from starlings.replay.open_runs import Standstill, StuckRun, open_runs

from .looking import Scene

NAMED = 5
_REMEDIES = {
    Standstill.TIMER: "no coordinator is at work on partition {partition}: see its group above",
    Standstill.OWED: "the coordinator of partition {partition} cannot publish: see its log",
    Standstill.SILENT: "start {agents}, or `starlings cancel {run}`; give such steps a timeout",
    Standstill.PARKED: "upgrade the coordinator, or keep it: `starlings incident {run}`",
}


async def stuck_runs(scene: Scene) -> AsyncGenerator[Finding]:
    """Fold the tail of the log as a coordinator would, and look at the runs that are open."""
    found = await open_runs(
        scene.connection,
        scene.codec,
        scene.topics,
        now_ms=round(time.time() * 1000),
        patience_ms=round(scene.looking.patience.total_seconds() * 1000),
    )
    for partition in found.cut:
        said = f"{scene.topics.events}/{partition}: facts that open runs need were deleted"
        remedy = "raise retention.ms of the topic; `starlings runs --status open` lists them"
        yield Finding("runs", Verdict.FAIL, said, remedy)
    for stuck in found.stuck[:NAMED]:
        yield _stuck(stuck)
    more = len(found.stuck) - NAMED
    if more > 0:
        yield Finding("runs", Verdict.FAIL, f"{more:,} more runs stand still")
    waiting = f", {found.waiting:,} of them wait for people" if found.waiting else ""
    if not found.stuck:
        yield Finding("runs", Verdict.OK, f"{found.open:,} open{waiting}, none stands still")


def _stuck(stuck: StuckRun) -> Finding:
    silent = duration_text(stuck.silent_ms / 1000)
    said = f"{stuck.run_id} stands still, silent for {silent}: {stuck.said}"
    remedy = _REMEDIES[stuck.why].format(
        run=stuck.run_id,
        partition=stuck.partition,
        agents=", ".join(stuck.agents) or "its agents",
    )
    return Finding("runs", Verdict.FAIL, said, remedy)


async def not_undone(scene: Scene) -> AsyncGenerator[Finding]:
    """Look for runs that ended without all being undone that had to be."""
    since = datetime.now(UTC) - scene.looking.since
    async with client() as kafka:
        runs = await kafka.runs(since=since)
    failed = [run for run in runs if run.status == RunOutcome.COMPENSATION_FAILED]
    within = duration_text(scene.looking.since.total_seconds())
    for run in failed[-NAMED:]:
        said = f"{run.run_id}: something could not be undone"
        remedy = (
            f"`starlings show {run.run_id}`, then `starlings retry {run.run_id} --compensation`"
        )
        yield Finding("undoing", Verdict.FAIL, said, remedy)
    if len(failed) > NAMED:
        yield Finding("undoing", Verdict.FAIL, f"{len(failed) - NAMED:,} more runs like these")
    if not failed:
        yield Finding("undoing", Verdict.OK, f"all is undone that had to be, within {within}")


async def dead_letters(scene: Scene) -> AsyncGenerator[Finding]:
    """Count the letters that wait for a decision, by what went wrong."""
    letters = await read_letters(scene.connection, scene.codec, scene.topics)
    if not letters.open:
        yield Finding("dead letters", Verdict.OK, "none is open")
        return
    codes = Counter(letter.last.code for letter in letters if letter.state is LetterState.OPEN)
    why = ", ".join(f"{count:,} {code}" for code, count in codes.most_common(NAMED))
    said = f"{letters.open:,} wait for a decision ({why})"
    remedy = "`starlings dlq ls` lists them, `starlings dlq show` says what to do"
    yield Finding("dead letters", Verdict.FAIL, said, remedy)
