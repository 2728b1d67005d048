"""The memory of an attempt that is run again: its calls are answered from the record.

The record is what `step_done` carries of an attempt (`kept`). Rules:

- A call is found by its name within the step; a tool's call counts as the same only with the same
  arguments. Where it lies elsewhere in the step by now, it is found by tool and arguments alone, in
  the order in which such calls were made then.
- What failed then fails again, with the same words; its class is another one, save for errors of
  Starlings.
- A call that is not in the record is made where `answers` lets it, and refused otherwise. With
  `refuse_effects` none is made that could have an effect: only models are asked, and tools called
  that are declared idempotent. What author's code does outside of models, tools and `ctx.once` is
  its own; `ctx.replaying` tells it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum

from pydantic import JsonValue

from starlings.agents.call_record import A_CALL, Asked, CallRefused, digest_of
from starlings.agents.once import Calls, remembering
from starlings.messages import ErrorInfo, KeptAnswers, StepFailed, TransientError

_UNFORESEEN = "unexpected"  # code of an error that is none of Starlings'
_NO_RECORD = (
    "the log has no record of this attempt's calls (an older version made it, its agent has "
    "records_calls=False, or it ended without a word of its agent)"
)


class Answers(StrEnum):
    """Where the answers of calls come from."""

    RECORDED = "recorded"
    RECORDED_THEN_LIVE = "recorded-then-live"
    LIVE = "live"


class RecordedFailure(Exception):  # noqa: N818 - stands for an error of any name
    """What a call raised when it was recorded; the class is named as that of the error was."""


@dataclass(frozen=True, slots=True)
class _Found:
    answer: JsonValue


class RecordedCalls:
    """Answers the calls of one attempt; one instance for each time that it is run.

    Args:
        kept: what `step_done` carries; None: nothing was recorded of the attempt.
        answers: where answers come from.
        model: the same for models alone; None: as `answers`.
        refuse_effects: whether calls that could have an effect are never made.
        why_none: said where nothing was recorded.
    """

    def __init__(
        self,
        kept: KeptAnswers | None,
        *,
        answers: Answers = Answers.RECORDED,
        model: Answers | None = None,
        refuse_effects: bool = False,
        why_none: str | None = None,
    ) -> None:
        self.answered: list[str] = []  # names of calls that the record has answered
        self.made: list[str] = []  # of those that were made now
        self.missing: list[str] = []  # of those that were refused: the record has them not
        self.refused: list[str] = []  # of those that were refused: they could have an effect
        self._kept = kept
        self.answers = answers
        self._model = model or answers
        self.refuses_effects = refuse_effects
        self._why_none = why_none or _NO_RECORD
        self._now: dict[str, JsonValue] = {}
        self._taken: dict[str, str] = {}  # place in the record by a call's name now
        self._places = _by_digest(kept)

    def within(self) -> AbstractContextManager[None]:
        """Let the attempts that begin in this block remember from here."""
        calls: Callable[[], Calls] = lambda: self  # noqa: E731 - checks that it is one
        return remembering(calls)

    def find(self, name: str, asked: Asked = A_CALL) -> _Found | None:
        """Look an answer up; None where there is none.

        Raises:
            RecordedFailure: the call failed then, and so it does now.
            StarlingsError: likewise.
        """
        if name in self._now:
            return _Found(self._now[name])
        if self._kept is None or self._mode(asked) is Answers.LIVE:
            return None
        place = self._taken.get(name) or self._place(name, asked)
        if place is None:
            return None
        self._taken[name] = place
        self.answered.append(name)
        if place in self._kept.failures:
            raise _raised(self._kept.failures[place])
        return _Found(self._kept.answers[place])

    def given(self, name: str) -> JsonValue | ErrorInfo:
        """Tell with what the record has answered a call."""
        kept, place = self._kept, self._taken[name]
        if kept is None:
            raise KeyError(name)
        return kept.failures[place] if place in kept.failures else kept.answers[place]

    def permit(self, name: str, asked: Asked, *, void: bool) -> None:
        """Let a call be made, or not.

        Raises:
            CallRefused: `not_recorded` or `effect_refused`.
        """
        if void and name in self.answered:
            self.answered.remove(name)
        if self._mode(asked) is Answers.RECORDED:
            self.missing.append(name)
            raise CallRefused(
                f"{_named(name, asked)} has no recorded answer: {self._why_missing(void=void)}; "
                f"with answers {Answers.RECORDED_THEN_LIVE.value!r} such calls are made",
                code="not_recorded",
            )
        if self.refuses_effects and asked.has_effect:
            self.refused.append(name)
            raise CallRefused(
                f"{_named(name, asked)} is not in the record, and is not made in a replay that "
                "refuses effects; a tool that may be called again at any time is declared so, with "
                "tool(idempotent=True)",
                code="effect_refused",
            )
        self.made.append(name)

    async def keep(self, name: str, answer: JsonValue) -> None:
        """Remember an answer for as long as the replay lasts."""
        self._now[name] = answer

    def _mode(self, asked: Asked) -> Answers:
        return self._model if asked.kind == "model" else self.answers

    def _place(self, name: str, asked: Asked) -> str | None:
        """Find the name under which a call was recorded."""
        kept = self._kept
        if kept is None:
            return None
        there = name in kept.answers or name in kept.failures
        if asked.kind != "tool":
            return name if there else None
        places = self._places.get(digest_of(asked.tool, asked.args or {}), [])
        if name in places:
            places.remove(name)
            return name
        if not places:
            return name if there and name not in kept.tools else None
        return places.pop(0)

    def _why_missing(self, *, void: bool) -> str:
        if void:
            return "the recorded one does not fit any more, since the agent or its tools changed"
        if self._kept is None:
            return self._why_none
        if self._kept.left_out:
            return (
                "the attempt made no such call, or its answer was left out of the record, as "
                f"{self._kept.left_out} were, being secret or too large"
            )
        return "the attempt made no such call: its code, its input or an answer were others then"


def _by_digest(kept: KeptAnswers | None) -> dict[str, list[str]]:
    places: dict[str, list[str]] = defaultdict(list)
    for place, digest in (kept.tools if kept else {}).items():
        places[digest].append(place)
    return places


def _named(name: str, asked: Asked) -> str:
    what = {"model": "the question to the model", "tool": f"the call of tool {asked.tool!r}"}
    return f"{what[asked.kind]} ({name})" if asked.kind in what else f"the call {name!r}"


def _raised(info: ErrorInfo) -> Exception:
    """Make an error of what is recorded of it."""
    name, _, said = info.message.partition(": ")
    if info.code == _UNFORESEEN and name.isidentifier():
        made: Exception = type(name, (RecordedFailure,), {})(said)
        return made
    kind = TransientError if info.retryable else StepFailed
    return kind(
        info.message,
        code=info.code,
        retryable=info.retryable,
        retry_after_s=info.retry_after_s,
        cooldown=info.cooldown,
    )
