"""`ctx.model`: the language model, as one attempt of a step asks it.

Rules:
- Each answer is kept: an attempt that is started again after a crash has it already, and pays for
  no token twice. What it cost counts once, in the attempt that ends.
- What a failed call cost counts as well, up to the call that failed.
- Calls are told apart by what is asked, so that their order may differ from start to start.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import JsonValue, TypeAdapter, ValidationError
from pydantic_core import to_json

from starlings.llm.chat import CheckCall, Turn, system, user
from starlings.llm.prompt_file import OWN, Prompt
from starlings.messages import StepFailed, ToolDefinition, Usage

from .call_record import A_MODEL
from .model_port import ModelPort, Spent
from .once import OWN_PREFIX, Once
from .streamed_text import StreamedText

T = TypeVar("T")

Messages = Sequence[Mapping[str, Any]]
Tell = Callable[[Any], Awaitable[None]]
_SHOWN_ERRORS = 20


def no_model(agent: str) -> StepFailed:
    """Say that an agent has no model to ask, and what gives it one."""
    return StepFailed(
        f"agent {agent!r} asks a model, and has none; set OPENAI_API_KEY or OPENAI_BASE_URL, give "
        "LocalRun or LocalChoreography a `model`, or name `tool` and `args` in the step",
        code="no_model",
    )


class StepModel:
    """Asks a model on behalf of one attempt."""

    def __init__(
        self,
        port: ModelPort,
        memory: Once,
        spent: Spent,
        *,
        tell: Tell | None = None,
        label: str = "",
        prompt: str | None = None,
    ) -> None:
        self._port = port
        self._prompt = prompt
        self._memory = memory
        self._spent = spent
        self._tell = tell
        self._label = label

    def using(self, model: str, *, temperature: float | None = None) -> StepModel:
        """Ask another model of the same server, as in a debate of several."""
        port = self._port.using(model, temperature=temperature)
        label = f"{model}/{temperature}"
        return StepModel(
            port, self._memory, self._spent, tell=self._tell, label=label, prompt=self._prompt
        )

    async def text(self, task: str, *, instructions: str | Prompt = "") -> str:
        """Ask for a text.

        Args:
            task: what is asked for; a step function's `str` parameter has the results of earlier
                steps in it, as a block of data.
            instructions: who the model is, and its rules, perhaps from a `Prompt` file.

        Raises:
            ModelAway: the model cannot be asked now.
            ModelFailed: it gave no usable answer.
        """
        messages = _conversation(task, str(instructions))
        return (await self.chat(messages, label=_label_of(instructions))).text

    async def value(self, task: str, shape: type[T], *, instructions: str | Prompt = "") -> T:
        """Ask for a value of a type, a Pydantic model as a rule; it comes back validated.

        Raises:
            ModelAway: the model cannot be asked now.
            ModelFailed: it gave no usable answer.
        """
        adapter = TypeAdapter(shape)
        name = shape.__name__ if isinstance(shape, type) else "value"
        answer = await self.structured(
            _conversation(task, str(instructions)),
            adapter.json_schema(),
            name=name[:64],
            validate=lambda value: _problems(adapter, value),
            label=_label_of(instructions),
        )
        return adapter.validate_python(answer)

    async def chat(
        self,
        messages: Messages,
        *,
        tools: Sequence[ToolDefinition] = (),
        validate: CheckCall | None = None,
        key: str | None = None,
        label: str = OWN,
    ) -> Turn:
        """Ask for the model's turn in a conversation, which `starlings.llm.chat` helps to write.

        `key` names the call among all of the step; by default it is told by what is asked. `label`
        is `Prompt.label` of the prompt file that the system message is made of.

        Raises:
            ModelAway: the model cannot be asked now.
            ModelFailed: it gave no usable answer.
        """
        messages = self._instructed(messages)

        async def ask() -> JsonValue:
            telling = StreamedText(self._tell) if self._tell and self._port.streams else None
            turn = await self._port.chat(
                messages,
                tools=tools,
                validate=validate,
                on_text=telling,
                on_usage=self._spent.add,
            )
            if telling is not None:
                await telling.flush()
            kept: JsonValue = turn.model_dump(mode="json")
            return kept

        def valid(kept: Any) -> bool:
            return all(call.name in names for call in Turn.model_validate(kept).calls)

        self._spent.use_prompt(label, messages)
        names = {tool.name for tool in tools}
        definitions = [tool.model_dump(mode="json") for tool in tools]
        place = self._place(key, [list(map(dict, messages)), definitions])
        return Turn.model_validate(await self._once(place, ask, valid))

    async def structured(
        self,
        messages: Messages,
        schema: dict[str, Any],
        *,
        name: str,
        validate: Callable[[Any], list[str]] = lambda _value: [],
        adapt: Callable[[Any], Any] = lambda value: value,
        key: str | None = None,
        label: str = OWN,
    ) -> Any:
        """Ask for a value of a JSON Schema; an answer kept that is not valid any more is void.

        Raises:
            ModelAway: the model cannot be asked now.
            ModelFailed: it gave no usable answer.
        """
        messages = self._instructed(messages)

        async def ask() -> JsonValue:
            answer = await self._port.structured(
                messages,
                schema,
                name=name,
                validate=validate,
                adapt=adapt,
                on_usage=self._spent.add,
            )
            return {"value": answer.value, "usage": answer.usage.model_dump(mode="json")}

        def valid(kept: Any) -> bool:
            return isinstance(kept, dict) and not validate(kept.get("value"))

        self._spent.use_prompt(label, messages)
        place = self._place(key, [list(map(dict, messages)), schema])
        kept: Any = await self._once(place, ask, valid)
        return kept["value"]

    def _instructed(self, messages: Messages) -> Messages:
        """Add the run's own instructions behind those of the agent."""
        if self._prompt is None:
            return messages
        first = messages[0] if messages and messages[0].get("role") == "system" else None
        own = f"{first.get('content')}\n\n" if first is not None else ""
        return [system(f"{own}{self._prompt}"), *messages[first is not None :]]

    async def _once(
        self,
        place: str,
        ask: Callable[[], Awaitable[JsonValue]],
        valid: Callable[[JsonValue], bool],
    ) -> JsonValue:
        """Ask, or take what was kept; what was paid before the attempt began anew counts, too."""
        asked = False

        async def asking() -> JsonValue:
            nonlocal asked
            asked = True
            return await ask()

        kept = await self._memory.plain(place, asking, valid=valid, asked=A_MODEL)
        if not asked and isinstance(kept, dict):
            self._spent.add(Usage.model_validate(kept["usage"]))
        return kept

    def _place(self, key: str | None, asked: Any) -> str:
        if key is not None:
            return f"{OWN_PREFIX}model/{key}"
        digest = hashlib.sha256(to_json([self._label, asked])).hexdigest()[:24]
        return self._memory.numbered(f"{OWN_PREFIX}model/{digest}")


def _conversation(task: str, instructions: str) -> list[dict[str, Any]]:
    return [*([system(instructions)] if instructions else []), user(task)]


def _label_of(instructions: str | Prompt) -> str:
    return instructions.label if isinstance(instructions, Prompt) else OWN


def _problems(adapter: TypeAdapter[Any], value: Any) -> list[str]:
    try:
        adapter.validate_python(value)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False)[:_SHOWN_ERRORS]
        return [f"{'.'.join(map(str, each['loc'])) or 'value'}: {each['msg']}" for each in found]
    return []
