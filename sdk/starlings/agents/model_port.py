"""What agents need of a language model, and the record of what an attempt has spent."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from starlings.messages import ToolCall, Usage


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

    `structured` asks for JSON, parses it tolerantly, brings it into the schema's shape by `adapt`,
    and shows the model the problems that `validate` lists until there are none. Raises
    `TransientError` where it may work later, else `ModelFailed`. Safe for concurrent calls.
    """

    async def structured(
        self,
        messages: Sequence[Mapping[str, str]],
        schema: dict[str, Any],
        *,
        name: str,
        validate: Callable[[Any], list[str]],
        adapt: Callable[[Any], Any],
    ) -> AnswerPort:
        """Ask for a value of a JSON Schema."""


@dataclass
class Spent:
    """What an attempt has done so far; also told where it fails or runs out of time."""

    calls: list[ToolCall] = field(default_factory=list)
    usage: Usage | None = None

    def add(self, usage: Usage | None) -> None:
        """Add what a model cost."""
        if usage is not None:
            self.usage = (self.usage or Usage()).plus(usage)
