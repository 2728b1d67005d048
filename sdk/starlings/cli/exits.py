"""What a command's exit code means; `docs/cli.md` and every `--help` say the same."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # imported by every `--help`, which shall be fast
    from starlings.messages import RunDone


class Exit(IntEnum):
    """Exit codes of all commands."""

    OK = 0
    FAILED = 1
    WRONG = 2
    REJECTED = 3
    CANCELLED = 4
    NOT_ENDED = 5
    NOT_UNDONE = 6
    REFUSED = 7
    DIFFERENT = 8
    BROKEN = 70  # as in sysexits.h: an error that nobody foresaw
    INTERRUPTED = 130
    PIPE = 141


EPILOG = (
    "Exit codes: 0 fine, or the run completed; 1 the run failed (what it did may be undone) or "
    "completed in part, or problems "
    "were found; 2 wrong usage or settings; 3 the plan was rejected; 4 the run was cancelled; "
    "5 a timeout passed, or the run has not ended; 6 something could not be undone; 7 as the run "
    "stands, the command can change nothing; 8 recorded runs would be "
    "decided otherwise today, or a step or candidate gives something else; 130 Ctrl-C (runs go on)."
)

_BY_OUTCOME = {
    "completed": Exit.OK,
    "partial": Exit.FAILED,
    "failed": Exit.FAILED,
    "compensated": Exit.FAILED,
    "compensation_failed": Exit.NOT_UNDONE,
    "rejected": Exit.REJECTED,
    "cancelled": Exit.CANCELLED,
}
_RAN_OUT = "deadline_exceeded"


def exit_of(done: RunDone | None) -> Exit:
    """Say with which code a command ends that waited for this run."""
    if done is None:
        return Exit.NOT_ENDED
    ran_out = done.error is not None and done.error.code == _RAN_OUT
    if ran_out and done.outcome.value != "compensation_failed":
        return Exit.NOT_ENDED
    return _BY_OUTCOME.get(done.outcome.value, Exit.FAILED)
