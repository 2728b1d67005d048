"""What a model is asked, apart from how a server has to be asked, and the ways of asking it.

Servers differ in how they can be asked for JSON (by a schema, for some object, in plain words), in
whether tools can be declared to them, and in whether they stream. `ways` lists how one may be
asked, from the most telling to the plainest; `body` writes the request.

Neither `tool_choice` nor `n` is used: servers ignore them.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any

from starlings.messages.registry import ToolDefinition

from .endpoint import Endpoint
from .in_words import as_words, turn_schema
from .settings import LlmSettings

OnText = Callable[[str], Awaitable[None]]


class AskedBy(IntEnum):
    """Ways of asking for JSON, from strict to plain."""

    JSON_SCHEMA = 0
    JSON_OBJECT = 1
    PROMPT = 2


@dataclass(frozen=True)
class Shape:
    """What JSON is wanted."""

    schema: dict[str, Any]
    name: str


@dataclass(frozen=True)
class Question:
    """A conversation that ends with the model's turn."""

    messages: tuple[dict[str, Any], ...]
    shape: Shape | None = None
    tools: tuple[ToolDefinition, ...] = ()
    on_text: OnText | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Way:
    """One way of asking; `tools`: they are declared, else told in words."""

    json: AskedBy | None = None
    tools: bool = False
    stream: bool = False


@dataclass
class Capabilities:
    """What a server and model have turned out to take."""

    json: AskedBy = AskedBy.JSON_SCHEMA
    tools: bool = True
    stream: bool = True

    def learn(self, question: Question, way: Way) -> None:
        """Remember a way that worked after others had been refused."""
        if way.json is not None:
            self.json = max(self.json, way.json)
        if question.tools:
            self.tools = self.tools and way.tools
        if question.on_text is not None and not way.stream:
            self.stream = False


def ways(question: Question, known: Capabilities) -> Iterator[Way]:
    """List how a server may be asked, the last one being the plainest."""
    for way in _without_streams(question, known):
        if question.on_text is not None and known.stream:
            yield replace(way, stream=True)
        yield way


def _without_streams(question: Question, known: Capabilities) -> Iterator[Way]:
    if question.tools and known.tools:
        yield Way(tools=True)
    if question.tools or question.shape is not None:
        for asked_by in list(AskedBy)[known.json :]:
            yield Way(json=asked_by)
    else:
        yield Way()


def body(question: Question, way: Way, endpoint: Endpoint, settings: LlmSettings) -> dict[str, Any]:
    """Write the request."""
    messages, shape = list(question.messages), question.shape
    if question.tools and not way.tools:
        messages = as_words(messages, question.tools)
        shape = Shape(turn_schema(question.tools), "turn")
    if shape is not None and way.json not in {None, AskedBy.JSON_SCHEMA}:
        messages = _with_schema(messages, shape.schema)
    sent: dict[str, Any] = {"model": endpoint.model, "messages": messages}
    if shape is not None and way.json is not None:
        sent.update(_response_format(shape, way.json))
    if way.tools:
        sent["tools"] = [_declared(tool) for tool in question.tools]
    if way.stream:
        sent.update(stream=True, stream_options={"include_usage": True})
    if settings.temperature is not None:
        sent["temperature"] = settings.temperature
    if settings.max_tokens is not None:
        # OpenAI's newer models refuse the old name, most other servers know only that one
        limit = "max_completion_tokens" if endpoint.is_openai else "max_tokens"
        sent[limit] = settings.max_tokens
    return sent


def _response_format(shape: Shape, way: AskedBy) -> dict[str, Any]:
    if way is AskedBy.JSON_OBJECT:
        return {"response_format": {"type": "json_object"}}
    if way is AskedBy.PROMPT:
        return {}
    wanted = {"name": shape.name, "schema": shape.schema, "strict": is_strict(shape.schema)}
    return {"response_format": {"type": "json_schema", "json_schema": wanted}}


def _declared(tool: ToolDefinition) -> dict[str, Any]:
    about = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return {"type": "function", "function": about}


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


def _with_schema(messages: list[dict[str, Any]], schema: dict[str, Any]) -> list[dict[str, Any]]:
    """Say in words what a schema would have said, in the one system message."""
    words = f"Answer with one JSON object and nothing else.\n{schema_in_words(schema)}"
    if messages and messages[0]["role"] == "system":
        first, *others = messages
        return [{"role": "system", "content": f"{first['content']}\n\n{words}"}, *others]
    return [{"role": "system", "content": words}, *messages]


def schema_in_words(schema: dict[str, Any]) -> str:
    """Show a schema to a model."""
    return f"It has to match this JSON Schema:\n{json.dumps(schema, ensure_ascii=False)}"
