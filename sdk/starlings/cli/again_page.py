"""A step that was run again, beside what came of it then: for people, and as JSON."""

from __future__ import annotations

import difflib
import json
from typing import TYPE_CHECKING, Any

from rich.text import Text

from starlings.messages import ErrorInfo
from starlings.replay.step_again import Difference, told

from .printing import clean, console, print_table, printable, say
from .spending import usage_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pydantic import JsonValue
    from rich.console import Console

    from starlings.messages import StepDone
    from starlings.replay.recorded_attempt import RecordedAttempt
    from starlings.replay.step_again import Again

LINES = 60  # of one difference
CALLS = 8  # that are named
ANSWER = 60  # characters of one answer
_HOW_TO_CALL = (
    "the record of its calls comes with its end, so nothing answers them here: --answers live "
    "makes them, and asks models and tools for real (with --no-effects nothing that has an effect)"
)


def show_progress(said: Any) -> None:
    """Show a sign of life of the step."""
    text = said if isinstance(said, str) else json.dumps(said, ensure_ascii=False)
    console().print(Text.assemble(("… ", "yellow"), clean(text)))


def again_document(
    found: RecordedAttempt,
    again: Again,
    differences: Sequence[Difference] | None,
    *,
    published: bool,
) -> dict[str, Any]:
    """Write all of it as JSON."""
    calls = again.calls
    return {
        "run_id": found.ready.run_id,
        "step_id": found.ready.step_id,
        "attempt": found.ready.attempt,
        "attempts": found.made,
        "agent": again.done.agent,
        "why_no_end": found.why_no_end,
        "ready_from": None if found.place is None else str(found.place),
        "answers": calls.answers.value,
        "same": None if differences is None else not differences,
        "differences": None if differences is None else [vars(each) for each in differences],
        "recorded": None if found.done is None else told(found.done),
        "now": told(again.done),
        "calls": {
            "answered": calls.answered,
            "made": calls.made,
            "missing": calls.missing,
            "refused": calls.refused,
        },
        "published": published,
    }


def print_again(
    out: Console,
    found: RecordedAttempt,
    again: Again,
    differences: Sequence[Difference] | None,
    *,
    published: bool,
) -> None:
    """Show it to a person."""
    ready = found.ready
    of = f" of {found.made}" if found.made > 1 else ""
    out.print(
        Text.assemble(
            (f"step {ready.step_id}", "bold"),
            f" of run {ready.run_id}, attempt {ready.attempt}{of}, agent {again.done.agent}",
        ),
        soft_wrap=True,
    )
    for line in _notes(found, again):
        out.print(Text(printable(line), style="dim"), soft_wrap=True)
    print_table(out, ("", "recorded", "now"), list(_rows(found.done, again.done)))
    if differences is None:
        _print_alone(out, found, again)
    else:
        _print_compared(out, again.done, differences)
    if published:
        say(out, Text("published: the run goes on with this result"), head="→ ")


def _notes(found: RecordedAttempt, again: Again) -> Iterator[str]:
    where = "built anew from the run's facts" if found.place is None else f"from {found.place}"
    yield f"given: {where}"
    calls = again.calls
    yield (
        f"answers {calls.answers.value}: {len(calls.answered)} from the record, {len(calls.made)} "
        "made now"
    )
    for name in calls.answered[:CALLS]:
        yield f"  {clean(name)}: {_answer(calls.given(name))}"
    if len(calls.answered) > CALLS:
        yield f"  and {len(calls.answered) - CALLS} more"
    if calls.made:
        more = f" and {len(calls.made) - CALLS} more" if len(calls.made) > CALLS else ""
        yield f"made now: {', '.join(calls.made[:CALLS])}{more}"
    if again.done.agent != found.ready.agent:
        yield f"run by agent {again.done.agent}, not {found.ready.agent}"


def _answer(given: JsonValue | ErrorInfo) -> str:
    if isinstance(given, ErrorInfo):
        return clean(f"error {given.code}: {given.message}")
    return clean(json.dumps(given, ensure_ascii=False), ANSWER)


def _rows(recorded: StepDone | None, now: StepDone) -> Iterator[Sequence[str]]:
    def both(name: str, of: Any) -> Sequence[str]:
        return name, "-" if recorded is None else of(recorded), of(now)

    yield both("outcome", lambda done: done.outcome.value)
    yield both("duration", lambda done: f"{done.duration_s:.2f} s")
    if now.usage is not None or (recorded is not None and recorded.usage is not None):
        yield both("usage", lambda done: usage_text(done.usage) if done.usage else "-")
    if recorded is not None and recorded.prompts != now.prompts:
        yield both("prompts", lambda done: clean(", ".join(done.prompts or ()) or "-"))


def _print_alone(out: Console, found: RecordedAttempt, again: Again) -> None:
    why = f"cannot be read: {found.unread}" if found.unread else "is not in the log"
    say(out, Text(printable(f"nothing to compare with: how the attempt ended {why}")), head="· ")
    if found.started_by:
        say(out, Text(printable(f"{found.started_by} had started it")), head="  ")
    stands = found.why_settled or "the run waits for its result (--publish)"
    say(out, Text(printable(stands)), head="  ")
    if again.calls.missing:
        say(out, Text(_HOW_TO_CALL), head="  ")
    _print_end(out, again.done)


def _print_compared(out: Console, done: StepDone, differences: Sequence[Difference]) -> None:
    if not differences:
        out.print(Text.assemble(("✓ ", "green"), "the same came of it"))
        _print_end(out, done)
        return
    names = ", ".join(each.field for each in differences)
    out.print(Text.assemble(("✗ ", "red"), f"something else came of it: {names}"))
    for each in differences:
        out.print(Text(f"{each.field}:", style="bold"))
        for line, style in _diff(each):
            out.print(Text(printable(line), style=style), soft_wrap=True)


def _print_end(out: Console, done: StepDone) -> None:
    if done.error is not None:
        say(out, Text(f"{clean(done.error.code)}: {printable(done.error.message)}"), head="  ")
        return
    out.print(Text(printable("\n".join(_lines(done.output)))), soft_wrap=True)


def _diff(each: Difference) -> Iterator[tuple[str, str]]:
    lines = difflib.unified_diff(_lines(each.recorded), _lines(each.now), n=2, lineterm="")
    shown = [line for line in lines if not line.startswith(("---", "+++"))]
    for line in shown[:LINES]:
        style = {"-": "red", "+": "green"}.get(line[:1], "dim")
        yield f"  {line}", style
    if len(shown) > LINES:
        yield f"  … {len(shown) - LINES} more lines: --json has all", "dim"


def _lines(value: Any) -> list[str]:
    if isinstance(value, str):
        return value.splitlines() or [""]
    return json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True).splitlines()
