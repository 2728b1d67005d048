"""What agents need of a language model, and the record of what an attempt has spent."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from starlings.llm.chat import CheckCall, Turn
from starlings.llm.prompt_file import stamp
from starlings.messages import ToolCall, ToolDefinition, Usage

PROMPTS_MOST = 16  # of one step; more are not told


class AnswerPort(Protocol):
    """What a model's answer has."""

    @property
    def value(self) -> Any:
        """The answer, valid."""

    @property
    def usage(self) -> Usage:
        """What all rounds cost."""


class ModelPort(Protocol):
    """What agents need of a model.

    Both ways of asking parse tolerantly, and show the model the problems that `validate` lists
    until there are none. Both raise `ModelAway` (a `TransientError`) where it may work later, else
    `ModelFailed`. `on_usage` is told what each call cost as soon as it is known, also where a later
    one fails; the answer's `usage` is the sum. Safe for concurrent calls.
    """

    @property
    def streams(self) -> bool:
        """Whether what the model writes is to be told piece by piece."""

    async def structured(
        self,
        messages: Sequence[Mapping[str, Any]],
        schema: dict[str, Any],
        *,
        name: str,
        validate: Callable[[Any], list[str]],
        adapt: Callable[[Any], Any],
        on_usage: Callable[[Usage], None],
    ) -> AnswerPort:
        """Ask for a value of a JSON Schema, brought into its shape by `adapt`."""

    async def chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[ToolDefinition],
        validate: CheckCall | None,
        on_text: Callable[[str], Awaitable[None]] | None,
        on_usage: Callable[[Usage], None],
    ) -> Turn:
        """Ask for the model's turn: an answer in words, or calls of `tools` and of no others.

        `on_text` is told the text as it comes, where the server streams; "" begins it anew.
        """

    def using(self, model: str, *, temperature: float | None = None) -> ModelPort:
        """Return a port to another model of the same server."""

    def for_run(self, model: str | None, *, temperature: float | None = None) -> ModelPort:
        """Return a port to the model that a run asks for; raise `ModelFailed` where it may not."""


@dataclass
class Spent:
    """What an attempt has done so far; also told where it fails or runs out of time."""

    calls: list[ToolCall] = field(default_factory=list)
    usage: Usage | None = None
    prompts: list[str] = field(default_factory=list)

    def use_prompt(self, label: str, messages: Sequence[Mapping[str, Any]]) -> None:
        """Remember which prompt was used, by the system message that is sent."""
        text = next((str(m.get("content")) for m in messages if m.get("role") == "system"), None)
        if text is not None and (used := stamp(label, text)) not in self.prompts:
            self.prompts = [*self.prompts, used][:PROMPTS_MOST]

    def add(self, usage: Usage | None) -> None:
        """Add what a model cost."""
        if usage is not None:
            self.usage = (self.usage or Usage()).plus(usage)
