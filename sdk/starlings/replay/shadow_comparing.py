"""A candidate's result beside the one that is in the log: the same, or what is different. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from starlings.messages import ErrorInfo, StepDone, StepOutcome, Usage

SHOWN = 5  # differences of a step
SHOWN_CHARACTERS = 200
#: Codes of errors that say that a replay could not be made, not that the candidate is worse.
NOT_THE_CANDIDATES = frozenset({"effect_refused", "not_recorded"})


class Verdict(StrEnum):
    """How a candidate's result compares."""

    SAME = "same"
    SAME_MEANING = "same meaning"  # says the judge
    DIFFERENT = "different"
    FAILED = "failed"
    NOT_COMPARABLE = "not comparable"


class Difference(BaseModel):
    """One place in which two outputs differ; texts are shortened."""

    model_config = ConfigDict(frozen=True)

    path: str
    was: str
    now: str


class Side(BaseModel):
    """What one side took and gave, without its output."""

    model_config = ConfigDict(frozen=True)

    outcome: StepOutcome | None = None
    code: str | None = None
    duration_s: float = 0.0
    usage: Usage | None = None

    @classmethod
    def of(cls, done: StepDone | None) -> Side:
        """Read it out of a result."""
        if done is None:
            return cls()
        code = done.error.code if done.error else None
        return cls(outcome=done.outcome, code=code, duration_s=done.duration_s, usage=done.usage)


class Judgement(BaseModel):
    """What a judge says of two outputs that differ; `same` is None where it gave no usable word."""

    model_config = ConfigDict(frozen=True)

    same: bool | None = None
    reason: str
    usage: Usage | None = None


class Comparison(BaseModel):
    """How one step compares; it travels as a header of the candidate's result."""

    model_config = ConfigDict(frozen=True)

    session: int = Field(description="of the shadow: it begins anew with each `--again`")
    verdict: Verdict
    why: str = ""
    differences: tuple[Difference, ...] = ()
    was: Side
    now: Side
    judgement: Judgement | None = None


def compare(was: StepDone | None, now: StepDone, *, session: int) -> Comparison:
    """Compare a candidate's result with the one in the log; None: there is none."""
    verdict, why = _verdict(was, now)
    differences: tuple[Difference, ...] = ()
    if verdict is Verdict.DIFFERENT and was is not None:
        found = differences_of(was.output, now.output)
        differences = tuple(next_ for next_, _ in zip(found, range(SHOWN), strict=False))
    return Comparison(
        session=session,
        verdict=verdict,
        why=why,
        differences=differences,
        was=Side.of(was),
        now=Side.of(now),
    )


def _verdict(was: StepDone | None, now: StepDone) -> tuple[Verdict, str]:
    if was is None:
        return Verdict.NOT_COMPARABLE, "the log has no result of this step"
    if was.outcome is StepOutcome.CANCELLED:
        return Verdict.NOT_COMPARABLE, "the step was cancelled then"
    if now.error is not None:
        return _verdict_on_error(was.error, now.error)
    if was.error is not None:
        return Verdict.DIFFERENT, f"failed then ({was.error.code}), and does not now"
    return Verdict.SAME if same_json(was.output, now.output) else Verdict.DIFFERENT, ""


def _verdict_on_error(was: ErrorInfo | None, now: ErrorInfo) -> tuple[Verdict, str]:
    if now.code in NOT_THE_CANDIDATES:
        return Verdict.NOT_COMPARABLE, now.message
    if was is not None and was.code == now.code:
        return Verdict.SAME, f"failed then, too ({now.code})"
    return Verdict.FAILED, f"{now.code}: {now.message}"


def same_json(was: JsonValue, now: JsonValue) -> bool:
    """Say whether two values are the same JSON: 2 and 2.0 are, 1 and true are not."""
    return next(differences_of(was, now), None) is None


def differences_of(was: JsonValue, now: JsonValue, path: str = "") -> Iterator[Difference]:
    """List the places in which two values differ, the first ones first."""
    if isinstance(was, dict) and isinstance(now, dict):
        for key in [*was, *(key for key in now if key not in was)]:
            where = f"{path}.{key}" if path else key
            if key not in was:
                yield Difference(path=where, was="", now=_shown(now[key]))
            elif key not in now:
                yield Difference(path=where, was=_shown(was[key]), now="")
            else:
                yield from differences_of(was[key], now[key], where)
    elif isinstance(was, list) and isinstance(now, list) and len(was) == len(now):
        for at, (one, other) in enumerate(zip(was, now, strict=True)):
            yield from differences_of(one, other, f"{path}[{at}]")
    elif isinstance(was, bool) is not isinstance(now, bool) or was != now:
        yield Difference(path=path, was=_shown(was), now=_shown(now))


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[: SHOWN_CHARACTERS - 1]}…"
