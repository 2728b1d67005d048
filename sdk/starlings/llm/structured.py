"""JSON that is wanted of a model: how it is told from other JSON, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .parsing import UnreadableAnswer, parse_answer
from .reply import Reply

Validate = Callable[[Any], list[str]]
Adapt = Callable[[Any], Any]


@dataclass(frozen=True)
class Wanted:
    """What the answer has to be."""

    schema: dict[str, Any]
    name: str
    validate: Validate
    adapt: Adapt

    def read(self, reply: Reply) -> tuple[Any, list[str]]:
        """Return the value in an answer, and what is wrong with it."""
        try:
            value = self.adapt(parse_answer(reply.text, self._may_be_it))
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


def no_problems(_value: Any) -> list[str]:
    """Find nothing wrong."""
    return []


def as_it_is(value: Any) -> Any:
    """Change nothing."""
    return value
