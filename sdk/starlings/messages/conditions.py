"""A condition over the results of earlier steps: data that is compared, never code that is run.

    {"value": "{{steps.classify.output.label}}", "equals": "urgent"}
    {"all": [{"value": "{{steps.count.output}}", "more_than": 3}, …]}

A condition has exactly one comparison that its reader knows: one that a later version brings is
refused by an earlier one, and a misspelt one by all, for it must not count as no comparison.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from pydantic import (
    Field,
    JsonValue,
    StrictBool,
    StrictFloat,
    StrictInt,
    model_serializer,
    model_validator,
)

from .base import Model

COMPARISONS = (
    "equals",
    "not_equals",
    "less_than",
    "at_most",
    "more_than",
    "at_least",
    "one_of",
    "none_of",
    "contains",
    "exists",
)
GROUPS = ("all", "any", "none")
REFERENCE = re.compile(
    r"\s*\{\{\s*steps\.[A-Za-z0-9][A-Za-z0-9_:-]*\.(output|summary|state)[^{}]*\}\}\s*"
)


Number = StrictInt | StrictFloat


class Condition(Model):
    """One comparison of a value, or a group of conditions."""

    value: str | None = Field(
        default=None,
        description="what is compared: {{steps.<id>.output…}}, {{steps.<id>.summary}} or "
        "{{steps.<id>.state}} (done, failed or skipped)",
    )
    equals: JsonValue = None
    not_equals: JsonValue = None
    less_than: Number | None = None
    at_most: Number | None = None
    more_than: Number | None = None
    at_least: Number | None = None
    one_of: list[JsonValue] | None = None
    none_of: list[JsonValue] | None = None
    contains: JsonValue = Field(
        default=None, description="a text in a text, a value in a list, a name in an object"
    )
    exists: StrictBool | None = Field(
        default=None, description="whether there is such a value, other than null"
    )
    all: list[Condition] | None = Field(default=None, description="each of these holds")
    any: list[Condition] | None = Field(default=None, description="one of these holds")
    none: list[Condition] | None = Field(default=None, description="not one of these holds")

    @model_validator(mode="after")
    def _is_one_thing(self) -> Condition:
        given = [name for name in (*COMPARISONS, *GROUPS) if name in self.model_fields_set]
        if len(given) != 1:
            known = ", ".join((*COMPARISONS, *GROUPS))
            raise ValueError(f"a condition has exactly one of {known}; this one has {len(given)}")
        if given[0] in GROUPS:
            if self.value is not None:
                raise ValueError(f"{given[0]!r} is a group of conditions and takes no value")
            if not getattr(self, given[0]):
                raise ValueError(f"{given[0]!r} has no conditions")
        elif self.value is None or not REFERENCE.fullmatch(self.value):
            raise ValueError("value has to be one reference, such as {{steps.<id>.output.<name>}}")
        elif getattr(self, given[0]) is None and given[0] not in ("equals", "not_equals"):
            raise ValueError(f"{given[0]!r} cannot be null")
        return self

    @model_serializer
    def _as_given(self) -> dict[str, Any]:
        """Write what was given and nothing else: `equals: null` is a comparison."""
        return {name: getattr(self, name) for name in sorted(self.model_fields_set)}

    @property
    def kind(self) -> str:
        """Name its comparison, or its group."""
        return next(name for name in (*COMPARISONS, *GROUPS) if name in self.model_fields_set)

    def parts(self) -> Iterator[Condition]:
        """Yield the conditions of a group."""
        yield from getattr(self, self.kind) if self.kind in GROUPS else ()

    def __str__(self) -> str:
        """Write it in one line."""
        if self.kind in GROUPS:
            return f"{self.kind} of ({'; '.join(str(part) for part in self.parts())})"
        value = (self.value or "").strip().removeprefix("{{").removesuffix("}}").strip()
        return f"{value} {self.kind.replace('_', ' ')} {getattr(self, self.kind)!r}"
