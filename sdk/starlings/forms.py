"""Forms that people fill in: named fields with types, and answers that are checked against them.

The agent that asks and the client that answers share this, so whoever answers is told at once what
is wrong. Types and limits are a subset of JSON Schema, under its names.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import date, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints, model_validator

MOST_FIELDS = 100
LONGEST_TEXT = 20_000
_LONGEST_NAME = 128
_TRUE = frozenset({"true", "yes", "y", "1"})
_FALSE = frozenset({"false", "no", "n", "0"})
_WHOLE = re.compile(r"[+-]?[0-9]{1,1000}")

FieldName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,62}$")]


class FormField(BaseModel):
    """One field: a property of JSON Schema, as far as a person can fill it in."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    type: Literal["string", "integer", "number", "boolean", "array"] = "string"
    title: str = ""
    description: str = ""
    required: bool = Field(default=True, description="a field with a default never is")
    default: JsonValue = None
    choices: list[JsonValue] | None = Field(default=None, alias="enum", min_length=1)
    minimum: float | None = None
    maximum: float | None = None
    min_length: int | None = Field(default=None, alias="minLength", ge=0)
    max_length: int | None = Field(default=None, alias="maxLength", ge=0)
    format: Literal["date", "date-time"] | None = None

    @model_validator(mode="after")
    def _is_consistent(self) -> FormField:
        if self.default is not None and (problem := self.problem(self.default)):
            raise ValueError(f"the default {self.default!r} does not fit: {problem}")
        return self

    def problem(self, value: JsonValue) -> str | None:
        """Say what is wrong with a value; None where nothing is."""
        if not self._is_of_type(value):
            return f"it has to be of the type {self.type}"
        values = value if isinstance(value, list) else [value]
        if self.choices is not None and any(each not in self.choices for each in values):
            return f"it has to be one of {', '.join(json.dumps(c) for c in self.choices)}"
        if isinstance(value, str | list):
            return self._length_problem(value) or self._text_problem(value)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return self._size_problem(value)
        return None

    def _is_of_type(self, value: JsonValue) -> bool:
        if self.type in {"integer", "number"}:
            kinds: Any = int if self.type == "integer" else (int, float)
            return isinstance(value, kinds) and not isinstance(value, bool)
        if self.type == "array":
            return isinstance(value, list) and all(isinstance(each, str) for each in value)
        return isinstance(value, bool if self.type == "boolean" else str)

    def _size_problem(self, value: float) -> str | None:
        if self.minimum is not None and value < self.minimum:
            return f"it has to be {self.minimum:g} or more"
        if self.maximum is not None and value > self.maximum:
            return f"it has to be {self.maximum:g} or less"
        return None

    def _length_problem(self, value: str | list[Any]) -> str | None:
        what = "character(s)" if isinstance(value, str) else "item(s)"
        most = LONGEST_TEXT if self.max_length is None else self.max_length
        if self.min_length is not None and len(value) < self.min_length:
            return f"it needs {self.min_length} {what} or more"
        return f"it may have {most} {what} at most" if len(value) > most else None

    def _text_problem(self, value: str | list[Any]) -> str | None:
        if not isinstance(value, str) or self.format is None:
            return None
        try:
            (date if self.format == "date" else datetime).fromisoformat(value)
        except ValueError:
            shown = "2030-12-31" if self.format == "date" else "2030-12-31T18:00:00Z"
            return f"it has to be a {self.format}, as in {shown}"
        return None

    def read(self, text: str) -> JsonValue:
        """Read a value that was typed; what cannot be read comes back as the text."""
        word = text.strip()
        if self.type == "boolean" and word.lower() in _TRUE | _FALSE:
            return word.lower() in _TRUE
        if self.type in {"integer", "number"} and _WHOLE.fullmatch(word):
            return int(word)
        if self.type == "number":
            try:
                return float(word)
            except ValueError:
                return text
        if self.type == "array":
            return [part.strip() for part in text.split(",") if part.strip()]
        return text


class Form(BaseModel):
    """What a person is asked."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    question: str = Field(min_length=1, max_length=10_000)
    fields: dict[FieldName, FormField] = Field(min_length=1, max_length=MOST_FIELDS)
    timeout_s: float | None = Field(
        default=None, gt=0, le=366 * 86_400, allow_inf_nan=False, description="None: the step's own"
    )
    default: dict[str, JsonValue] | None = Field(
        default=None, description="the answer where nobody gives one in time; None: the step fails"
    )

    @model_validator(mode="after")
    def _default_fits(self) -> Form:
        if self.default is not None:
            _, problems = self.check(self.default)
            if problems:
                raise ValueError(f"the default does not fit: {'; '.join(problems)}")
        return self

    def read(self, typed: Mapping[str, str]) -> dict[str, JsonValue]:
        """Read values that were typed, each by its field's type."""
        return {
            name: self.fields[name].read(text) if name in self.fields else text
            for name, text in typed.items()
        }

    def check(self, given: JsonValue) -> tuple[dict[str, JsonValue], list[str]]:
        """Fill in the defaults of an answer; list all that is wrong with it."""
        if not isinstance(given, dict):
            return {}, ["an answer has to be an object with the fields"]
        known = ", ".join(self.fields)
        problems = [
            f"{n[:80]}: no such field; there are {known}" for n in given if n not in self.fields
        ]
        filled: dict[str, JsonValue] = {}
        for name, field in self.fields.items():
            value = given.get(name)
            if value is None:
                filled[name] = field.default
                if field.required and field.default is None:
                    problems.append(f"{name}: it is missing")
                continue
            filled[name] = value
            if problem := field.problem(value):
                problems.append(f"{name}: {problem}")
        return filled, problems


def answer_name(step_id: str) -> str:
    """Name the signal that carries the answer to a step's form; no step's own signal has it."""
    name = f"answer.{step_id}"
    if len(name) <= _LONGEST_NAME:
        return name
    return f"answer.{hashlib.sha256(step_id.encode()).hexdigest()}"
