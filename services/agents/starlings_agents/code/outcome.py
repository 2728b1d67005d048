"""What came of one run of a program, and the errors that stand for the bad ends."""

from __future__ import annotations

from pydantic import BaseModel, JsonValue

from starlings import StepFailed

TIME_LIMIT = "code_time_limit"
MEMORY_LIMIT = "code_memory_limit"
INVALID = "code_invalid"
FAILED = "code_failed"
_CODES = {"TimeoutError": TIME_LIMIT, "MemoryError": MEMORY_LIMIT, "SyntaxError": INVALID}
_SHOWN_CHARACTERS = 2_000


class Outcome(BaseModel):
    """The end of a run: a result, or the error's kind with its traceback or reason."""

    result: JsonValue = None
    printed: str = ""
    printed_cut: bool = False
    error: str | None = None
    kind: str = ""

    def words(self) -> str:
        """Say what went wrong, with the end of what was printed before."""
        said = tail(self.error or "")
        return f"{said}\nIt had printed:\n{tail(self.printed)}" if self.printed else said

    def failure(self, prefix: str) -> StepFailed:
        """Make the error of the step."""
        return StepFailed(f"{prefix}: {self.words()}", code=_CODES.get(self.kind, FAILED))


def tail(text: str) -> str:
    """Keep the end of a text, where a traceback says what happened."""
    return text if len(text) <= _SHOWN_CHARACTERS else "…" + text[-_SHOWN_CHARACTERS:]
