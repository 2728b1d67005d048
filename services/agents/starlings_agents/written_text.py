"""A model writes one text, such as a program or a statement, or says why it cannot.

It answers with a JSON object: the text under a name, and `cannot`; one of the two is null.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from starlings import StepContext, StepFailed
from starlings.llm.chat import escaped
from starlings.llm.prompt_file import OWN

_CANNOT = "cannot"


def _no_problems(_text: str) -> list[str]:
    return []


@dataclass(frozen=True)
class WrittenText:
    """What an agent lets a model write.

    Attributes:
        agent: the agent's name, for errors.
        field: under which name the text stands in the answer.
        name: what the answer is called.
        cleaned: takes from a text what it should not have, once its fences are gone.
        problems: lists what is wrong with a text before it is tried.
        label: of the prompt, for the facts.
    """

    agent: str
    field: str
    name: str
    cleaned: Callable[[str], str] = str
    problems: Callable[[str], list[str]] = _no_problems
    label: str = OWN

    async def ask(self, ctx: StepContext, turn: int, messages: list[dict[str, str]]) -> str:
        """Let the model write, or mend what it wrote; what it answers is kept.

        Raises:
            StepFailed: `cannot`, the model's own word, or `model_…`.
            TransientError: the model may answer later.
        """
        answer = await ctx.model.structured(
            messages,
            self._schema(),
            name=self.name,
            validate=self._all_problems,
            adapt=self._adapted,
            key=f"{self.name}/{turn}",
            label=self.label,
        )
        if not answer[self.field]:
            raise StepFailed(
                f"agent {self.agent!r} cannot do this: {answer[_CANNOT]}", code="cannot"
            )
        return str(answer[self.field])

    def to_mend(self, text: str, what: str, problem: str) -> list[dict[str, str]]:
        """Show the model what it wrote, and what is wrong with it, as data."""
        whole = f"Answer with the whole {self.name}, mended, in the same form."
        return [
            {"role": "assistant", "content": json.dumps({self.field: text, _CANNOT: None})},
            {
                "role": "user",
                "content": f"{what}:\n<output>\n{escaped(problem)}\n</output>\n{whole}",
            },
        ]

    def _schema(self) -> dict[str, Any]:
        text_or_null = {"type": ["string", "null"]}
        return {
            "type": "object",
            "properties": {self.field: text_or_null, _CANNOT: text_or_null},
            "required": [self.field, _CANNOT],
            "additionalProperties": False,
        }

    def _adapted(self, answer: Any) -> Any:
        """Bring what models commonly write into shape: only one of the two, or a fenced text."""
        if not isinstance(answer, dict):
            return answer
        text = answer.get(self.field)
        if isinstance(text, str):
            text = self.cleaned(_unfenced(text))
        return {self.field: text, _CANNOT: answer.get(_CANNOT)}

    def _all_problems(self, answer: Any) -> list[str]:
        if not isinstance(answer, dict):
            return [f'the answer has to be an object with "{self.field}" and "{_CANNOT}"']
        text, cannot = answer.get(self.field), answer.get(_CANNOT)
        if isinstance(text, str) and text.strip():
            return self.problems(text)
        if isinstance(cannot, str) and cannot.strip():
            return []
        return [f'there is no "{self.field}", and no reason in "{_CANNOT}"']


def _unfenced(text: str) -> str:
    stripped = text.strip()
    if not stripped.startswith("```"):
        return text
    lines = stripped.splitlines()[1:]
    return "\n".join(lines).rstrip().removesuffix("```").rstrip("\n")
