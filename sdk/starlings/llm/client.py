"""Ask a model for JSON of a given schema, or for its turn in a conversation with tools.

Nothing is taken for granted about the answer: however it was asked for, it is parsed tolerantly and
validated, and the model gets its problems shown up to twice to mend them. What comes back from here
has been checked; whoever calls it need not look again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import structlog

from starlings.messages.errors import StarlingsError
from starlings.messages.registry import ToolDefinition
from starlings.messages.usage import Usage

from . import errors
from .cassette import Cassette
from .chat import ChatMessage, CheckCall, Turn
from .endpoint import Endpoint
from .errors import ModelAway, ModelFailed
from .line import Line
from .question import OnText, Question, Shape, schema_in_words
from .reply import Reply
from .settings import LlmSettings
from .structured import Adapt, Validate, Wanted, as_it_is, no_problems
from .turns import read_turn, schema_problems

REPAIR_ROUNDS = 2
MOST_OTHERS = 64  # each is kept as long as its client; anybody may write to the log
_SHOWN_PROBLEMS = 20

_log = structlog.get_logger(__name__)

OnUsage = Callable[[Usage], None]


@dataclass(frozen=True)
class Answer:
    """A valid answer, who gave it, what it cost over all rounds."""

    value: Any
    usage: Usage
    model: str
    rounds: int


def _not_allowed(message: str) -> ModelFailed:
    remedy = "choose one of STARLINGS_MODELS_ALLOWED, or have it named there"
    return ModelFailed(message, code=errors.NOT_ALLOWED, remedy=remedy)


def no_usage(_usage: Usage) -> None:
    """Take what nobody counts."""


class ModelClient:
    """A client for the configured model, or for the offline rules where none is configured.

    Used as an async context manager, or closed by `aclose`. Bound to the event loop of its first
    call; safe for any number of concurrent calls there.
    """

    def __init__(
        self,
        settings: LlmSettings,
        *,
        endpoint: Endpoint | None = None,
        cassette: Cassette | None = None,
    ) -> None:
        self._settings = settings
        self._given = endpoint
        self._cassette = cassette
        self._line: Line | None = None
        self._others: dict[tuple[str, float | None], ModelClient] = {}

    async def __aenter__(self) -> Self:
        self._connect()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.aclose()

    def open(self) -> None:
        """Find out now who is asked, not at the first question.

        Raises:
            ConfigError: a setting is wrong; it is named.
        """
        self._connect()

    async def aclose(self) -> None:
        """Close connections, and the offline model where there is one."""
        others, self._others = self._others, {}
        for other in others.values():
            await other.aclose()
        line, self._line = self._line, None
        if line is not None:
            await line.aclose()

    @property
    def streams(self) -> bool:
        """Whether what the model writes is to be told piece by piece."""
        return self._settings.stream

    def using(self, model: str, *, temperature: float | None = None) -> ModelClient:
        """Return a client for another model of the same server, which is closed with this one.

        The offline rules stand in for any model; the models behind this one stay behind it.
        """
        key = (model, temperature)
        if key not in self._others:
            here = self.endpoint
            # a price that was set is that of the model it was set for
            price = here.price if model == here.model else None
            there = here if here.offline else replace(here, model=model, price=price)
            changed: dict[str, Any] = {"model": model}
            if temperature is not None:
                changed["temperature"] = temperature
            settings = self._settings.model_copy(update=changed)
            cassette = self._connect().cassette
            self._others[key] = ModelClient(settings, endpoint=there, cassette=cassette)
        return self._others[key]

    def for_run(self, model: str | None, *, temperature: float | None = None) -> ModelClient:
        """Return a client for the model that a run asks for, of the same server.

        Raises:
            ModelFailed: `model_not_allowed`: it is not among the models that runs may ask for, or
                they have asked for too many.
        """
        allowed = self._settings.models_allowed
        if model is not None and allowed and model not in allowed:
            raise _not_allowed(f"runs may not ask for the model {model!r}")
        chosen = (model or self.endpoint.model, temperature)
        if chosen not in self._others and len(self._others) >= MOST_OTHERS:
            raise _not_allowed(f"runs have asked for {MOST_OTHERS} other models and temperatures")
        return self.using(chosen[0], temperature=temperature)

    @property
    def endpoint(self) -> Endpoint:
        """Return who answers; its `description` is for people."""
        return self._connect().endpoint

    async def structured(
        self,
        messages: Sequence[ChatMessage],
        schema: dict[str, Any],
        *,
        name: str,
        validate: Validate = no_problems,
        adapt: Adapt = as_it_is,
        repair_rounds: int = REPAIR_ROUNDS,
        on_usage: OnUsage = no_usage,
    ) -> Answer:
        """Ask for a value of a JSON Schema whose root is an object.

        Args:
            messages: the conversation, `{"role": …, "content": …}` each.
            schema: what the value has to look like; sent to the server where it can use it, and
                shown to the model in words where it cannot.
            name: what the value is called, `[A-Za-z0-9_-]`, up to 64 characters.
            validate: lists what is wrong with a value; empty when it is good. The schema itself is
                not checked here: `validate` knows better what matters.
            adapt: turns what models commonly write instead (a bare list) into the schema's shape.
            repair_rounds: how often the model may mend its answer.
            on_usage: told what each call cost as soon as it is known, also where a later fails.

        Raises:
            ModelAway: the model cannot be reached now (`model_rate_limited`, …).
            ModelFailed: it answered, but not usably, or refuses us.
        """
        wanted = Wanted(schema, name, validate, adapt)
        question = Question(_copied(messages), Shape(schema, name))
        rounds = _Rounds(self, repair_rounds, on_usage, mend=_mend_json(schema))
        return await rounds.until_good(question, wanted.read)

    async def chat(
        self,
        messages: Sequence[ChatMessage],
        *,
        tools: Sequence[ToolDefinition] = (),
        validate: CheckCall | None = None,
        on_text: OnText | None = None,
        repair_rounds: int = REPAIR_ROUNDS,
        on_usage: OnUsage = no_usage,
    ) -> Turn:
        """Ask for the model's turn: its answer as text, or calls of the tools.

        All calls of a turn are of declared tools, `chat.MAX_CALLS` at the most, with objects of
        arguments that `validate` lists no problems of, and ids that are unique in the turn.

        Args:
            messages: the conversation, as `starlings.llm.chat` writes it.
            tools: what may be called; without any, the answer is a text.
            validate: lists what is wrong with a call; by default the tool's schema is looked at,
                though not to its depths.
            on_text: told the text piece by piece where the server streams; `""` where the text
                begins anew, since the call is tried again.
            repair_rounds: how often the model may mend its turn.
            on_usage: told what each call cost as soon as it is known, also where a later fails.

        Raises:
            ModelAway: the model cannot be reached now (`model_rate_limited`, …).
            ModelFailed: it answered, but not usably, or refuses us.
        """
        question = Question(_copied(messages), None, tuple(tools), on_text)
        check = validate or schema_problems(tools)
        rounds = _Rounds(self, repair_rounds, on_usage, mend=_mend_turn)
        answer = await rounds.until_good(
            question, lambda reply: read_turn(reply, tools, check, question.messages)
        )
        text, calls = answer.value
        return Turn(
            text=text, calls=calls, usage=answer.usage, model=answer.model, rounds=answer.rounds
        )

    async def ask(self, question: Question) -> Reply:
        """Ask once, without a look at what the answer says."""
        return await self._connect().ask(question)

    def _connect(self) -> Line:
        if self._line is None:
            self._line = Line(self._settings, endpoint=self._given, cassette=self._cassette)
        return self._line


Read = Callable[[Reply], tuple[Any, list[str]]]
Mend = Callable[[Reply, list[str]], list[dict[str, Any]]]


class _Rounds:
    """Asks until an answer is good, or was mended often enough."""

    def __init__(
        self, client: ModelClient, repair_rounds: int, on_usage: OnUsage, *, mend: Mend
    ) -> None:
        self._client = client
        self._limit = repair_rounds + 1
        self._on_usage = on_usage
        self._mend = mend
        self._spent = Usage()

    async def until_good(self, question: Question, read: Read) -> Answer:
        messages, problems = question.messages, [""]
        for number in range(1, self._limit + 1):
            reply = await self._ask(
                Question(messages, question.shape, question.tools, question.on_text)
            )
            value, problems = read(reply)
            if not problems:
                return Answer(value=value, usage=self._spent, model=reply.model, rounds=number)
            _log.info("the model's answer has problems", problems=problems[:3])
            messages = (*messages, *self._mend(reply, problems))
        raise _never_valid(problems, self._spent, rounds=self._limit)

    async def _ask(self, question: Question) -> Reply:
        try:
            reply = await self._client.ask(question)
            self._count(reply.usage)
            return reply.checked()
        except StarlingsError as error:
            if isinstance(error, ModelFailed | ModelAway):
                error.usage = self._spent
            raise

    def _count(self, usage: Usage) -> None:
        self._spent = self._spent.plus(usage)
        self._on_usage(usage)


def _copied(messages: Sequence[ChatMessage]) -> tuple[dict[str, Any], ...]:
    return tuple(dict(message) for message in messages)


def _mend_json(schema: dict[str, Any]) -> Mend:
    def mend(reply: Reply, problems: list[str]) -> list[dict[str, Any]]:
        asked = "Answer again with the whole JSON object, mended, and nothing else."
        return _shown(reply.text, problems, f"{asked}\n{schema_in_words(schema)}")

    return mend


def _mend_turn(reply: Reply, problems: list[str]) -> list[dict[str, Any]]:
    # as plain text, since servers choke on declared calls that are malformed
    wanted = [f"{call.name}({call.arguments})"[:_SHOWN_CALL] for call in reply.calls]
    if len(wanted) > _SHOWN_PROBLEMS:  # a thousand calls would be paid for once more
        wanted[_SHOWN_PROBLEMS:] = [f"and {len(wanted) - _SHOWN_PROBLEMS} more"]
    calls = "\n".join(wanted)
    asked = "None of your calls was made. Call again, mended, or answer without calls."
    return _shown("\n".join(part for part in (reply.text, calls) if part), problems, asked)


_SHOWN_CALL = 500


def _shown(text: str, problems: list[str], asked: str) -> list[dict[str, Any]]:
    shown = [f"- {problem}" for problem in problems[:_SHOWN_PROBLEMS]]
    if len(problems) > _SHOWN_PROBLEMS:
        shown.append(f"- and {len(problems) - _SHOWN_PROBLEMS} more")
    said = "\n".join(["Your answer has these problems:", *shown, asked])
    previous = [{"role": "assistant", "content": text}] if text.strip() else []
    return [*previous, {"role": "user", "content": said}]


def _never_valid(problems: list[str], spent: Usage, *, rounds: int) -> ModelFailed:
    answers = "1 answer" if rounds == 1 else f"{rounds} answers"
    listed = "; ".join(problems[:_SHOWN_PROBLEMS])
    return ModelFailed(
        f"after {answers} of {spent.model} there are still problems: {listed}",
        code=errors.OUTPUT_INVALID,
        remedy="choose a more capable STARLINGS_MODEL, or put the request in other words",
        problems=problems,
        usage=spent,
    )
