"""How the undoing of a run's steps is told: what was undone, why, and what could not be.

A step that was done and is undone is shown as undone, in its own line. Attempts that were given up
and are undone all the same have lines of their own where changes are told one by one.
"""

from __future__ import annotations

from collections.abc import Iterator

from rich.text import Text

from starlings.choreography import Phase, Run, StepState, Undo, UndoPhase
from starlings.messages import RunDone

from .printing import clean

UNDO_MARKS: dict[UndoPhase, tuple[str, str]] = {
    UndoPhase.WAITING: ("·", "yellow"),
    UndoPhase.READY: ("·", "yellow"),
    UndoPhase.RELEASED: ("↩", "yellow"),
    UndoPhase.BACKOFF: ("↻", "yellow"),
    UndoPhase.UNDONE: ("↩", "magenta"),
    UndoPhase.FAILED: ("✗", "red"),
}
TOLD = frozenset({UndoPhase.BACKOFF, UndoPhase.UNDONE, UndoPhase.FAILED})
TOO_LATE = "its result came too late to count"


def undo_of(run: Run, step: StepState) -> Undo | None:
    """Find the undoing that says how a settled step stands."""
    if not step.settled or not step.undos:
        return None
    attempt = step.attempt if step.phase is Phase.DONE else step.undos[-1]
    return run.undos.get((step.spec.id, attempt))


def undo_text(run: Run, undo: Undo) -> str:
    """Say how an undoing stands, and why it is done."""
    why = clean(run.reason or TOO_LATE, 300)
    error = clean(undo.error.message, 300) if undo.error else ""
    if undo.phase is UndoPhase.UNDONE:
        return f"undone: {why}"
    if undo.phase is UndoPhase.FAILED:
        return f"not undone: {error}"
    if undo.phase is UndoPhase.BACKOFF:
        return f"not undone yet (try {undo.number}): {error}"
    waits = undo.phase in (UndoPhase.WAITING, UndoPhase.READY)
    return f"{'to be undone' if waits else 'being undone'}: {why}"


def undo_line(run: Run, step: StepState, undo: Undo) -> Text:
    """Tell in one plain line how an undoing stands: `↩ flight undone (flights): …`."""
    mark, style = UNDO_MARKS[undo.phase]
    word, _, rest = undo_text(run, undo).partition(": ")
    which = f" (attempt {undo.attempt})" if undo.attempt != step.attempt else ""
    return Text.assemble(
        (f"  {mark}", style),
        " ",
        (step.spec.id, "bold"),
        f"{which} {word} (",
        (undo.spec.agent, "cyan"),
        f"): {rest}",
    )


def not_undone(done: RunDone) -> Iterator[str]:
    """Say which steps could not be undone, why, and what to do about it."""
    for step in done.steps:
        for undo in step.undone:
            if undo.state == UndoPhase.FAILED.value:
                why = clean(undo.error.message, 500) if undo.error else "it failed"
                again = f"starlings retry {done.run_id} --compensation {step.step_id}"
                yield f"{step.step_id} is not undone: {why}; `{again}` tries again"
