"""Does a change of a JSON Schema break those who read or write the released one?

Two directions, judged by one comparison with swapped roles:

- backward: a new reader reads an old message;
- forward: an old reader reads a new message, and ignores fields that it does not know.

"Readable" means: whatever the writer's schema allows, the reader's schema accepts. Where that
cannot be decided (patterns, keywords that are not known here), only equality passes: the check may
refuse a harmless change, but lets no breaking one through. Two things count beyond validity: a
removed field breaks readers that look for it, even where it was optional; and another default
changes what a message without that field means.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

Schema = dict[str, Any] | bool

_LOWER = {"minimum": "exclusiveMinimum", "minLength": None, "minItems": None, "minProperties": None}
_UPPER = {"maximum": "exclusiveMaximum", "maxLength": None, "maxItems": None, "maxProperties": None}
_ANNOTATIONS = frozenset(
    [
        "$schema",
        "$id",
        "$defs",
        "$comment",
        "title",
        "description",
        "examples",
        "default",
        "deprecated",
        "readOnly",
        "writeOnly",
        "discriminator",
    ]
)
_HAS_A_RULE = frozenset(
    [
        *_LOWER,
        *_UPPER,
        "type",
        "enum",
        "const",
        "items",
        "prefixItems",
        "properties",
        "required",
        "additionalProperties",
        "patternProperties",
        "propertyNames",
        "exclusiveMinimum",
        "exclusiveMaximum",
    ]
)
_ABSENT = object()


def breaking_changes(old_schema: Schema, new_schema: Schema) -> list[str]:
    """Say everything that breaks between two versions of a schema; empty where nothing does."""
    backward = _Reading(old_schema, new_schema, new_writer=False)
    forward = _Reading(new_schema, old_schema, new_writer=True)
    return [
        *(f"new readers and old messages: {said}" for said in backward.problems()),
        *(f"old readers and new messages: {said}" for said in forward.problems()),
    ]


@dataclass
class _Reading:
    """One direction: messages of `writer` meet readers of `reader`."""

    writer: Schema
    reader: Schema
    new_writer: bool
    _open: set[tuple[int, int]] = field(default_factory=set)

    def problems(self) -> list[str]:
        return list(dict.fromkeys(self._unreadable(self.writer, self.reader, "")))

    def _unreadable(self, writer: Schema, reader: Schema, at: str) -> list[str]:
        pair = (id(writer), id(reader))
        if pair in self._open:  # a recursive schema: judged further up
            return []
        self._open.add(pair)
        accepted = _alternatives(reader, self.reader)
        problems = []
        for written in _alternatives(writer, self.writer):
            problems += self._best_match(written, accepted, at)
        self._open.discard(pair)
        return problems

    def _best_match(
        self, written: dict[str, Any], accepted: list[dict[str, Any]], at: str
    ) -> list[str]:
        """Give the problems with the alternative that is nearest; none where one takes it."""
        tried = []
        for candidate in accepted:
            problems = list(self._differences(written, candidate, at))
            if not problems:
                return []
            tried.append((not _type_fits(written, candidate), len(problems), problems))
        if not tried:
            return [f"{_place(at)}: nothing is accepted here"]
        misfit, _, problems = min(tried, key=lambda entry: entry[:2])
        if not misfit:
            return problems
        kinds = " or ".join(dict.fromkeys(_kind(candidate) for candidate in accepted))
        return [f"{_place(at)}: {kinds} is accepted, {_kind(written)} may be written"]

    def _differences(
        self, written: dict[str, Any], accepted: dict[str, Any], at: str
    ) -> Iterator[str]:
        if not _type_fits(written, accepted):
            yield f"{_place(at)}: {_kind(accepted)} is accepted, {_kind(written)} may be written"
            return
        place = _place(at)
        yield from (f"{place}: {said}" for said in _value_problems(written, accepted))
        yield from (f"{place}: {said}" for said in _limit_problems(written, accepted))
        yield from (f"{place}: {said}" for said in self._other_problems(written, accepted))
        yield from self._array_problems(written, accepted, at)
        yield from self._property_problems(written, accepted, at)
        yield from self._map_problems(written, accepted, at)

    def _other_problems(self, written: dict[str, Any], accepted: dict[str, Any]) -> Iterator[str]:
        """Demand equality of whatever has no rule of its own here."""
        for keyword, value in accepted.items():
            if keyword in _HAS_A_RULE or keyword in _ANNOTATIONS or keyword.startswith("x-"):
                continue
            taken = _expanded(value, self.reader)
            wrote = _expanded(written.get(keyword, _ABSENT), self.writer)
            if wrote != taken:
                said = "none" if wrote is _ABSENT else _say([wrote])
                yield f"{keyword} {_say([taken])} is accepted, {said} may be written"

    def _array_problems(
        self, written: dict[str, Any], accepted: dict[str, Any], at: str
    ) -> Iterator[str]:
        rest_written, rest_accepted = written.get("items", True), accepted.get("items", True)
        first_written = written.get("prefixItems", [])
        first_accepted = accepted.get("prefixItems", [])
        for index in range(max(len(first_written), len(first_accepted))):
            item = first_written[index] if index < len(first_written) else rest_written
            taken = first_accepted[index] if index < len(first_accepted) else rest_accepted
            yield from self._unreadable(item, taken, f"{at}[{index}]")
        yield from self._unreadable(rest_written, rest_accepted, f"{at}[]")

    def _property_problems(
        self, written: dict[str, Any], accepted: dict[str, Any], at: str
    ) -> Iterator[str]:
        wrote, takes = written.get("properties", {}), accepted.get("properties", {})
        always = set(written.get("required", ()))
        for name in accepted.get("required", ()):
            removed = self.new_writer and name in takes and name not in wrote  # said below
            if name not in always and not removed:
                yield f"{at}.{name}: is required, but may be missing".removeprefix(".")
        for name, taken in takes.items():
            place = f"{at}.{name}".removeprefix(".")
            if name in wrote:
                yield from self._unreadable(wrote[name], taken, place)
                if not self.new_writer and name not in always:
                    yield from _default_problems(wrote[name], taken, place)
            else:
                yield from self._unreadable(_unnamed(written), taken, place)
                if self.new_writer:
                    yield f"{place}: was removed, but readers look for it"
        rest = accepted.get("additionalProperties", True)
        for name in wrote.keys() - takes.keys():
            place = f"{at}.{name}".removeprefix(".")
            yield from self._unreadable(wrote[name], rest, place)

    def _map_problems(
        self, written: dict[str, Any], accepted: dict[str, Any], at: str
    ) -> Iterator[str]:
        """Compare what is said of fields without a name of their own."""
        taken = accepted.get("additionalProperties", True)
        wrote = _unnamed(written)
        if taken is False and written.get("additionalProperties") is not False:
            yield f"{_place(at)}: unknown fields are refused"
        elif taken is not True:
            yield from self._unreadable(wrote, taken, f"{at}.*".removeprefix("."))
        yield from self._unreadable(
            written.get("propertyNames", True),
            accepted.get("propertyNames", True),
            f"{_place(at)} (names)",
        )
        patterns = written.get("patternProperties", {})
        for pattern, schema in accepted.get("patternProperties", {}).items():
            place = f"{at}.*".removeprefix(".")
            yield from self._unreadable(patterns.get(pattern, wrote), schema, place)


def _alternatives(schema: Schema, root: Schema) -> list[dict[str, Any]]:
    """Write a schema as a list of plain ones, of which one has to fit."""
    if isinstance(schema, bool):
        return [{}] if schema else []
    for keyword in ("$ref", "anyOf", "oneOf"):
        if keyword in schema:
            rest = {key: value for key, value in schema.items() if key != keyword}
            inner = [_resolve(schema["$ref"], root)] if keyword == "$ref" else schema[keyword]
            return [
                found
                for one in inner
                for plain in _alternatives(one, root)
                for found in _alternatives(_both(rest, plain), root)
            ]
    if isinstance(schema.get("type"), list):
        return [{**schema, "type": kind} for kind in schema["type"]]
    return [schema]


def _both(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Join two schemas that hold at once; where both say the same thing, keep them apart."""
    clash = (one.keys() & other.keys()) - _ANNOTATIONS
    if any(one[key] != other[key] for key in clash):
        return {"allOf": [one, other]}
    return {**other, **one}


def _resolve(reference: str, root: Schema) -> Schema:
    if not reference.startswith("#") or isinstance(root, bool):
        raise ValueError(f"only references within the document are understood, not {reference}")
    found: Any = root
    for part in reference.removeprefix("#").strip("/").split("/"):
        if part:
            found = found[part.replace("~1", "/").replace("~0", "~")]
    return found  # type: ignore[no-any-return]


def _unnamed(written: dict[str, Any]) -> Schema:
    """Say what a writer puts into fields that have no name in its schema.

    A model writes the fields that it declares; an object that declares none may hold everything.
    """
    rest: Schema = written.get("additionalProperties", "properties" not in written)
    return rest


def _type_fits(written: dict[str, Any], accepted: dict[str, Any]) -> bool:
    taken = accepted.get("type")
    wrote = written.get("type")
    if wrote is None and (values := _values(written)) is not None:
        kinds = {_type_of(value) for value in values}
        return taken is None or all(k == taken or (k, taken) == _INTEGERS for k in kinds)
    return taken is None or wrote == taken or (wrote, taken) == _INTEGERS


_INTEGERS = ("integer", "number")


def _type_of(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    kinds = {str: "string", int: "integer", float: "number", list: "array", dict: "object"}
    return kinds.get(type(value), "null")


def _values(schema: dict[str, Any]) -> list[Any] | None:
    if "const" in schema:
        return [schema["const"]]
    return schema.get("enum")


def _value_problems(written: dict[str, Any], accepted: dict[str, Any]) -> Iterator[str]:
    taken, wrote = _values(accepted), _values(written)
    if taken is None:
        return
    if wrote is None:
        yield f"only {_say(taken)} is accepted, other values may be written"
        return
    known = {json.dumps(value, sort_keys=True) for value in taken}
    unknown = [value for value in wrote if json.dumps(value, sort_keys=True) not in known]
    if unknown:
        yield f"{_say(unknown)} is not accepted"


def _limit_problems(written: dict[str, Any], accepted: dict[str, Any]) -> Iterator[str]:
    for limits, sign in ((_LOWER, 1), (_UPPER, -1)):
        for keyword, exclusive in limits.items():
            taken = _bound(accepted, keyword, exclusive, sign)
            if taken is None:
                continue
            wrote = _bound(written, keyword, exclusive, sign)
            if wrote is None or wrote < taken:
                said = [_limit(schema, keyword, exclusive) for schema in (accepted, written)]
                yield f"{said[0]} is accepted, {said[1]} may be written"


def _bound(
    schema: dict[str, Any], keyword: str, exclusive: str | None, sign: int
) -> tuple[float, bool] | None:
    """Give a limit so that the greater is the narrower; an exclusive one is narrower still."""
    found = [(sign * schema[keyword], False)] if keyword in schema else []
    if exclusive in schema:
        found.append((sign * schema[exclusive], True))
    if found == [(0, False)] and keyword.startswith("min") and exclusive is None:
        return None  # a length of nothing is no limit
    return max(found, default=None)


def _limit(schema: dict[str, Any], keyword: str, exclusive: str | None) -> str:
    said = [f"{key} {schema[key]:g}" for key in (keyword, exclusive) if key and key in schema]
    return " and ".join(said) or f"no {keyword}"


def _expanded(value: Any, root: Schema, within: tuple[str, ...] = ()) -> Any:
    """Put what references point to in their place, so that equal means equal all the way down."""
    if isinstance(value, list):
        return [_expanded(item, root, within) for item in value]
    if not isinstance(value, dict):
        return value
    plain = {key: _expanded(item, root, within) for key, item in value.items()}
    reference = value.get("$ref")
    if isinstance(reference, str) and reference not in within:
        found = _resolve(reference, root)
        plain["$ref"] = _expanded(found, root, (*within, reference))
    return plain


def _default_problems(written: Schema, accepted: Schema, place: str) -> Iterator[str]:
    before, after = (
        schema.get("default", _ABSENT) if isinstance(schema, dict) else _ABSENT
        for schema in (written, accepted)
    )
    if before is after or (_ABSENT not in (before, after) and before == after):
        return
    said = ["none" if value is _ABSENT else _say([value]) for value in (before, after)]
    yield f"{place}: the default was {said[0]} and is {said[1]}"


def _place(at: str) -> str:
    return at or "the message"


def _kind(schema: dict[str, Any]) -> str:
    values = _values(schema)
    return str(schema.get("type") or (_say(values) if values is not None else "anything"))


def _say(values: list[Any]) -> str:
    return " or ".join(json.dumps(value, ensure_ascii=False) for value in values)
