"""Debate and vote: several models, or several samples of one, answer; then one answer is chosen.

Rules:
- All are asked at once. One that fails does not fail the step, as long as `quorum` have answered.
- In further rounds each is shown the answers of the round before, without names. Whoever fails
  then keeps the answer it gave.
- Answers that are the same but for case, blanks and a final full stop count as one. Where all are
  one, nobody judges.
- `decide="majority"`: the answer that most gave; a tie is for the judge. `decide="judge"`: the
  judge chooses among the different answers. It is not told who gave which, nor how many, and their
  order is drawn from what they say, so that coming first is no merit.
- Answers and judgement are kept: an attempt that is started again asks nobody twice.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from starlings.agents.context import StepContext
from starlings.agents.failures import described
from starlings.agents.step_model import StepModel
from starlings.agents.strategy import Strategy, whole_number
from starlings.agents.values import Result, clean_text
from starlings.choreography.context import shorten
from starlings.llm.prompt_file import packaged_prompt
from starlings.llm.prompts import JUDGE, PANELIST
from starlings.messages import ConfigError, ErrorInfo, StepFailed, StepReady

from .review import shape_problems
from .writing import Assignment

if TYPE_CHECKING:
    from starlings.agents.agent import Agent

LEAST, MOST = 2, 20
_BRIEF = ", in as few words as can be, since equal answers are counted"
_CLOSED = ConfigDict(extra="ignore", json_schema_extra={"additionalProperties": False})


class _Answer(BaseModel):
    model_config = _CLOSED

    reasoning: str
    answer: str = Field(min_length=1, max_length=50_000)


class _Verdict(BaseModel):
    model_config = _CLOSED

    best: int = Field(ge=1)
    reason: str


@dataclass
class _Panelist:
    """One who answers."""

    name: str
    model: StepModel
    number: int
    answer: _Answer | None = None
    error: ErrorInfo | None = None

    def told(self) -> dict[str, Any]:
        """Say for the output what became of it."""
        if self.answer is None:
            said = self.error.message if self.error else ""
            return {"model": self.name, "answer": None, "error": said}
        return {"model": self.name, "answer": self.answer.answer, "error": None}


@dataclass
class _Candidate:
    """One answer, and how many gave it."""

    answer: _Answer
    votes: int = 0


@dataclass(frozen=True, repr=False)
class Debate(Strategy):
    """Several answer, and one answer is chosen.

    The output is `{"answer", "decided_by", "votes", "reason", "answers"}`: `decided_by` is `all`,
    `majority` or `judge`, `votes` how many gave that answer, `answers` what each said.

    Args:
        models: who answers, by name, all of the agent's server; none: the agent's own model.
        samples: how often each is asked; None: once with several models, else 3 times.
        rounds: 1: each for itself; more: each sees the others' answers, and may change its own.
        decide: "judge" or "majority".
        judge: the model that judges; None: the agent's own.
        quorum: how many have to answer at least; None: more than half.
        temperature: for `models`; for the agent's own model, `Agent(model=ModelChoice(…))` says it.
    """

    models: Sequence[str] = field(default_factory=tuple)
    samples: int | None = None
    rounds: int = 1
    decide: Literal["judge", "majority"] = "judge"
    judge: str | None = None
    quorum: int | None = None
    temperature: float | None = None

    def __post_init__(self) -> None:
        if isinstance(self.models, str):
            raise ConfigError("Debate(models=…) has to be a list of names")
        if self.samples is not None:
            whole_number(self.samples, "Debate(samples=…)", most=MOST)
        whole_number(self.rounds, "Debate(rounds=…)", most=10)
        if not LEAST <= self.size <= MOST:
            raise ConfigError(
                f"a Debate has {LEAST} to {MOST} answers, and this one {self.size}: change models "
                "or samples"
            )
        if self.quorum is not None:
            whole_number(self.quorum, "Debate(quorum=…)", most=self.size)
        if self.decide not in {"judge", "majority"}:
            raise ConfigError('Debate(decide=…) has to be "judge" or "majority"')
        if self.temperature is not None and not self.models:
            raise ConfigError(
                "Debate(temperature=…) is for its models; for the agent's own model, give "
                "Agent(model=ModelChoice(temperature=…))"
            )

    @property
    def size(self) -> int:
        """How many answers there are."""
        if not self.models:
            return self.samples or 3
        return len(self.models) * (self.samples or (1 if len(self.models) > 1 else 3))

    @property
    def enough(self) -> int:
        """How many have to answer."""
        return self.quorum or self.size // 2 + 1

    async def run(self, agent: Agent, ready: StepReady, ctx: StepContext) -> Result:
        """Let all answer, and choose.

        Raises:
            StepFailed: `no_quorum`, `no_model`; `model_…` of the judge.
            TransientError: `no_quorum` where those who failed may work later; the judge may.
        """
        debate = _Debating(self, Assignment(agent, ready, ctx), ctx)
        return await debate.run()


class _Debating:
    def __init__(self, rules: Debate, assignment: Assignment, ctx: StepContext) -> None:
        self._rules = rules
        self._assignment = assignment
        self._ctx = ctx
        self._panel = [self._panelist(number) for number in range(rules.size)]

    def _panelist(self, number: int) -> _Panelist:
        rules, own = self._rules, self._ctx.model
        if not rules.models:
            return _Panelist(f"sample {number + 1}", own, number)
        name = rules.models[number % len(rules.models)]
        return _Panelist(name, own.using(name, temperature=rules.temperature), number)

    async def run(self) -> Result:
        for number in range(1, self._rules.rounds + 1):
            shown = self._shown() if number > 1 else None
            await asyncio.gather(*(self._ask(each, number, shown) for each in self._panel))
            answered = sum(each.answer is not None for each in self._panel)
            await self._ctx.heartbeat({"round": number, "answered": answered})
            self._check_quorum(answered)
        candidates = _counted(self._panel)
        chosen, decided_by, reason = await self._choose(candidates)
        output = {
            "answer": chosen.answer.answer,
            "decided_by": decided_by,
            "votes": chosen.votes,
            "reason": reason,
            "answers": [each.told() for each in self._panel],
        }
        return Result(output, summary=shorten(chosen.answer.answer))

    async def _ask(self, one: _Panelist, number: int, shown: dict[str, Any] | None) -> None:
        prompt = packaged_prompt("starlings.agents", "debate_answer")
        brief = _BRIEF if self._rules.decide == "majority" else ""
        try:
            value = await one.model.structured(
                self._assignment.messages(PANELIST, prompt, shown, brief=brief),
                _Answer.model_json_schema(),
                name="answer",
                validate=_answer_problems,
                key=f"debate/{number}/{one.number}",
                label=prompt.label,
            )
        except Exception as error:
            one.error = described(error)
            self._ctx.log.warning("one did not answer", model=one.name, error=one.error.message)
            return
        one.answer, one.error = _Answer.model_validate(value), None

    def _shown(self) -> dict[str, Any]:
        return {"answers": _numbered(_counted(self._panel))}

    def _check_quorum(self, answered: int) -> None:
        if answered >= self._rules.enough:
            return
        failed = [each.error for each in self._panel if each.error is not None]
        waits = [error.retry_after_s for error in failed if error.retry_after_s is not None]
        may_pass = [error.retryable for error in failed].count(True)
        raise StepFailed(
            f"{answered} of {self._rules.size} answered, and Debate(quorum=…) of agent "
            f"{self._assignment.agent.name!r} wants {self._rules.enough}; the others: "
            f"{'; '.join(dict.fromkeys(error.message for error in failed))[:2_000]}",
            code="no_quorum",
            retryable=answered + may_pass >= self._rules.enough,
            retry_after_s=max(waits, default=None),
        )

    async def _choose(self, candidates: list[_Candidate]) -> tuple[_Candidate, str, str]:
        if len(candidates) == 1:
            return candidates[0], "all", ""
        if self._rules.decide == "majority":
            most = max(each.votes for each in candidates)
            candidates = [each for each in candidates if each.votes == most]
            if len(candidates) == 1:
                return candidates[0], "majority", ""
        verdict = await self._judged(candidates)
        return candidates[verdict.best - 1], "judge", clean_text(verdict.reason)

    async def _judged(self, candidates: list[_Candidate]) -> _Verdict:
        model = self._ctx.model
        if self._rules.judge is not None:
            model = model.using(self._rules.judge)
        prompt = packaged_prompt("starlings.agents", "debate_judge")
        listed = _numbered(candidates)
        value = await model.structured(
            self._assignment.messages(JUDGE, prompt, {"answers": listed}),
            _Verdict.model_json_schema(),
            name="verdict",
            validate=lambda answer: _verdict_problems(answer, len(candidates)),
            key=f"debate/judge/{_drawn(str(listed))}",  # a number means nothing among others
            label=prompt.label,
        )
        return _Verdict.model_validate(value)


def _counted(panel: Sequence[_Panelist]) -> list[_Candidate]:
    """Put equal answers together, in an order that only what they say decides."""
    found: dict[str, _Candidate] = {}
    for each in panel:
        if each.answer is not None:
            alike = " ".join(each.answer.answer.casefold().split()).removesuffix(".")
            found.setdefault(alike, _Candidate(each.answer)).votes += 1
    return [found[key] for key in sorted(found, key=_drawn)]


def _drawn(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def _numbered(candidates: Sequence[_Candidate]) -> list[dict[str, Any]]:
    return [
        {"number": number, **each.answer.model_dump()} for number, each in enumerate(candidates, 1)
    ]


def _answer_problems(value: Any) -> list[str]:
    try:
        answer = _Answer.model_validate(value)
    except ValidationError as error:
        return shape_problems(error)
    return [] if answer.answer.strip() else ["answer: it is empty"]


def _verdict_problems(value: Any, count: int) -> list[str]:
    try:
        verdict = _Verdict.model_validate(value)
    except ValidationError as error:
        return shape_problems(error)
    return [] if verdict.best <= count else [f"best: there are {count} answers"]
