"""Ask a model for JSON of a given schema, and take nothing for granted about the answer.

Servers differ in how they can be asked: by a JSON Schema, for some JSON object, or in plain words.
We begin with the strictest way and step down when a server answers 400, 404, 422 or 500 to it; what
worked is remembered per server and model for the life of the process. However we asked, the answer
is parsed tolerantly and validated, and the model gets its problems shown up to twice to mend them.
Neither `tool_choice` nor `n` is used: many servers ignore them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Self

import openai
import structlog

from starlings.messages.errors import StarlingsError
from starlings.messages.facts import Usage

from . import errors
from .completion import Call
from .endpoint import Endpoint, resolve_model
from .errors import ModelFailed
from .parsing import UnreadableAnswer, parse_answer
from .reply import Reply
from .settings import LlmSettings

REPAIR_ROUNDS = 2
STEP_DOWN_ON = frozenset({400, 404, 422, 500})
_SHOWN_PROBLEMS = 20

_log = structlog.get_logger(__name__)

ChatMessage = dict[str, str]
Validate = Callable[[Any], list[str]]
Adapt = Callable[[Any], Any]


class AskedBy(IntEnum):
    """Ways of asking for JSON, from strict to plain."""

    JSON_SCHEMA = 0
    JSON_OBJECT = 1
    PROMPT = 2


_agreed: dict[tuple[str, str], AskedBy] = {}  # what worked, by (base URL, model)


@dataclass(frozen=True)
class Answer:
    """A valid answer, who gave it, what it cost over all rounds."""

    value: Any
    usage: Usage
    model: str
    rounds: int


@dataclass(frozen=True)
class _Wanted:
    """What the answer has to be."""

    schema: dict[str, Any]
    name: str
    validate: Validate
    adapt: Adapt

    def problems(self, text: str) -> tuple[Any, list[str]]:
        try:
            value = self.adapt(parse_answer(text, self._may_be_it))
        except UnreadableAnswer as error:
            return None, [str(error)]
        return value, self.validate(value)

    def _may_be_it(self, value: Any) -> bool:
        """Tell the answer from other JSON in the text: right kind, one of the right names."""
        value = self.adapt(value)
        if self.schema.get("type") == "array":
            return isinstance(value, list)
        names = self.schema.get("required") or self.schema.get("properties")
        return isinstance(value, dict) and (not names or any(name in value for name in names))


def _no_problems(_value: Any) -> list[str]:
    return []


def _as_it_is(value: Any) -> Any:
    return value


class ModelClient:
    """A client for the configured model, or for the offline rules where none is configured.

    Used as an async context manager, or closed by `aclose`. Bound to the event loop of its first
    call; safe for any number of concurrent calls there.
    """

    def __init__(self, settings: LlmSettings, *, endpoint: Endpoint | None = None) -> None:
        self._settings = settings
        self._endpoint = endpoint
        self._client: openai.AsyncOpenAI | None = None
        self._open = ExitStack()

    async def __aenter__(self) -> Self:
        self._connect()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close connections, and the offline model where there is one."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()
        self._open.close()

    @property
    def endpoint(self) -> Endpoint:
        """Return who answers; its `description` is for people."""
        self._connect()
        if self._endpoint is None:
            raise RuntimeError("connecting always resolves the endpoint")
        return self._endpoint

    async def structured(
        self,
        messages: Sequence[Mapping[str, str]],
        schema: dict[str, Any],
        *,
        name: str,
        validate: Validate = _no_problems,
        adapt: Adapt = _as_it_is,
        repair_rounds: int = REPAIR_ROUNDS,
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

        Raises:
            TransientError: the model cannot be reached now (`model_rate_limited`, …).
            ModelFailed: it answered, but not usably, or refuses us.
        """
        wanted = _Wanted(schema, name, validate, adapt)
        conversation = [dict(message) for message in messages]
        spent = Usage()
        problems: list[str] = []
        for number in range(1, repair_rounds + 2):
            reply = await self._ask(conversation, wanted, spent)
            spent = spent.plus(reply.usage)
            value, problems = wanted.problems(reply.text)
            if not problems:
                return Answer(value=value, usage=spent, model=reply.model, rounds=number)
            _log.info("the model's answer has problems", name=name, problems=problems[:3])
            conversation += _repair_messages(reply.text, problems, schema)
        raise _never_valid(problems, spent, rounds=repair_rounds + 1)

    # -- one round -----------------------------------------------------------------------------

    async def _ask(self, conversation: list[ChatMessage], wanted: _Wanted, spent: Usage) -> Reply:
        key = (self.endpoint.base_url, self.endpoint.model)
        first = _agreed.get(key, AskedBy.JSON_SCHEMA)
        for way in list(AskedBy)[first:]:
            last = way is AskedBy.PROMPT
            call = Call(self._connect(), self.endpoint, self._settings, hasty=not last)
            try:
                reply = await call.send(self._body(conversation, wanted, way))
            except StarlingsError as error:
                if last or call.status not in STEP_DOWN_ON:
                    raise _with_usage(error, spent) from None
                _log.info("asking in a plainer way", refused=way.name, status=call.status)
                continue
            _agreed[key] = max(way, _agreed.get(key, way))
            return reply
        raise RuntimeError("the last way of asking either returns or raises")

    def _body(
        self, conversation: list[ChatMessage], wanted: _Wanted, way: AskedBy
    ) -> dict[str, Any]:
        messages = conversation
        if way is not AskedBy.JSON_SCHEMA:
            messages = _with_schema(conversation, wanted.schema)
        body: dict[str, Any] = {"model": self.endpoint.model, "messages": messages}
        if way is AskedBy.JSON_SCHEMA:
            body["response_format"] = {
                "type": "json_schema",
                "json_schema": {
                    "name": wanted.name,
                    "schema": wanted.schema,
                    "strict": is_strict(wanted.schema),
                },
            }
        elif way is AskedBy.JSON_OBJECT:
            body["response_format"] = {"type": "json_object"}
        if self._settings.temperature is not None:
            body["temperature"] = self._settings.temperature
        if self._settings.max_tokens is not None:
            # OpenAI's newer models refuse the old name, most other servers know only that one
            limit = "max_completion_tokens" if self.endpoint.is_openai else "max_tokens"
            body[limit] = self._settings.max_tokens
        return body

    def _connect(self) -> openai.AsyncOpenAI:
        if self._client is not None:
            return self._client
        if self._endpoint is None or self._endpoint.offline:
            self._endpoint = self._open.enter_context(resolve_model(self._settings))
        endpoint = self._endpoint
        self._client = openai.AsyncOpenAI(
            api_key=endpoint.api_key.get_secret_value(),
            base_url=endpoint.base_url,
            timeout=self._settings.timeout_s,
            max_retries=0,  # ours are in `completion`: one way of trying again
            http_client=openai.DefaultAsyncHttpxClient(trust_env=not endpoint.is_local),
        )
        return self._client


def is_strict(schema: Any) -> bool:
    """Tell whether a schema is of the kind that OpenAI's strict mode takes.

    Every object closed, and every property of it required (OpenAI, Structured Outputs, "Supported
    schemas").
    """
    if isinstance(schema, list):
        return all(is_strict(inner) for inner in schema)
    if not isinstance(schema, dict):
        return True
    kind = schema.get("type")
    if kind == "object" or (isinstance(kind, list) and "object" in kind):
        names = set(schema.get("properties", {}))
        if schema.get("additionalProperties") is not False:
            return False
        if names != set(schema.get("required", [])):
            return False
    return all(is_strict(inner) for inner in schema.values())


def _with_schema(conversation: list[ChatMessage], schema: dict[str, Any]) -> list[ChatMessage]:
    """Say in words what a schema would have said, in the one system message."""
    words = f"Answer with one JSON object and nothing else.\n{_schema_in_words(schema)}"
    if conversation and conversation[0]["role"] == "system":
        first, *others = conversation
        return [{"role": "system", "content": f"{first['content']}\n\n{words}"}, *others]
    return [{"role": "system", "content": words}, *conversation]


def _schema_in_words(schema: dict[str, Any]) -> str:
    return f"It has to match this JSON Schema:\n{json.dumps(schema, ensure_ascii=False)}"


def _repair_messages(text: str, problems: list[str], schema: dict[str, Any]) -> list[ChatMessage]:
    shown = [f"- {problem}" for problem in problems[:_SHOWN_PROBLEMS]]
    if len(problems) > _SHOWN_PROBLEMS:
        shown.append(f"- and {len(problems) - _SHOWN_PROBLEMS} more")
    asked = "\n".join(
        [
            "Your answer has these problems:",
            *shown,
            "Answer again with the whole JSON object, mended, and nothing else.",
            _schema_in_words(schema),
        ]
    )
    previous = [{"role": "assistant", "content": text}] if text.strip() else []
    return [*previous, {"role": "user", "content": asked}]


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


def _with_usage(error: StarlingsError, spent: Usage) -> StarlingsError:
    if isinstance(error, ModelFailed):
        error.usage = spent.plus(error.usage)
    return error
