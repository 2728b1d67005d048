"""Breaking and harmless changes of a schema, each tried in the directions in which it counts."""

from __future__ import annotations

import copy

import pytest

from starlings.contract import breaking_changes, message_schema
from starlings.messages import MESSAGES

OLD = {
    "type": "object",
    "$defs": {
        "Error": {
            "type": "object",
            "properties": {"code": {"type": "string"}, "retries": {"type": "integer"}},
            "required": ["code"],
        },
        "Outcome": {"enum": ["ok", "error"], "type": "string"},
        "Tree": {
            "type": "object",
            "properties": {
                "value": {"type": "integer"},
                "children": {"type": "array", "items": {"$ref": "#/$defs/Tree"}},
            },
        },
    },
    "properties": {
        "id": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 10},
        "attempt": {"type": "integer", "minimum": 1},
        "ratio": {"type": "number", "exclusiveMaximum": 1},
        "outcome": {"$ref": "#/$defs/Outcome"},
        "error": {"anyOf": [{"$ref": "#/$defs/Error"}, {"type": "null"}], "default": None},
        "limit_s": {"anyOf": [{"type": "number"}, {"type": "null"}], "default": 600},
        "steps": {"type": "array", "items": {"$ref": "#/$defs/Error"}, "maxItems": 5},
        "tags": {"type": "object", "additionalProperties": {"type": "string"}},
        "due": {"type": "string", "format": "date-time"},
        "output": {},
        "tree": {"$ref": "#/$defs/Tree"},
        "pair": {"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}]},
        "by_step": {"type": "object", "patternProperties": {"^s": {"type": "integer"}}},
        "scale": {"allOf": [{"$ref": "#/$defs/Outcome"}]},
    },
    "required": ["id", "attempt"],
}
BACKWARD = "new readers and old messages"
FORWARD = "old readers and new messages"


def _changed(path: str, value: object = None) -> dict:
    """Copy the schema with one place replaced, or taken away where `value` is None."""
    new = copy.deepcopy(OLD)
    *parents, last = path.split("/")
    node = new
    for part in parents:
        node = node[int(part)] if isinstance(node, list) else node[part]
    key = int(last) if isinstance(node, list) else last
    if value is None:
        del node[key]
    else:
        node[key] = value
    return new


P, D = "properties", "$defs"
BREAKING = [
    # what readers need is gone
    (FORWARD, "id", "properties/id", None),
    (FORWARD, "output", f"{P}/output", None),
    (FORWARD, "error.retries", f"{D}/Error/properties/retries", None),
    (FORWARD, "steps[].retries", f"{D}/Error/properties/retries", None),
    # what may be absent
    (BACKWARD, "outcome", "required", ["id", "attempt", "outcome"]),
    (BACKWARD, "budget", "required", ["id", "attempt", "budget"]),
    (FORWARD, "attempt", "required", ["id"]),
    (FORWARD, "steps[].code", f"{D}/Error/required", []),
    # types
    (BACKWARD, "attempt", f"{P}/attempt", {"type": "string"}),
    (FORWARD, "attempt", f"{P}/attempt", {"type": "string"}),
    (FORWARD, "attempt", f"{P}/attempt", {"type": "number", "minimum": 1}),
    (BACKWARD, "ratio", f"{P}/ratio", {"type": "integer", "exclusiveMaximum": 1}),
    (FORWARD, "attempt", f"{P}/attempt", {"type": ["integer", "null"], "minimum": 1}),
    (BACKWARD, "output", f"{P}/output", {"type": "string"}),
    (FORWARD, "id", f"{P}/id", {}),
    (BACKWARD, "tree.value", f"{D}/Tree/properties/value", {"type": "string"}),
    # unions
    (BACKWARD, "error", f"{P}/error", {"$ref": "#/$defs/Error", "default": None}),
    (BACKWARD, "limit_s", f"{P}/limit_s/anyOf", [{"type": "number"}]),
    (FORWARD, "limit_s", f"{P}/limit_s/anyOf/0", {"type": "string"}),
    # enumerations
    (BACKWARD, "outcome", f"{D}/Outcome/enum", ["ok"]),
    (FORWARD, "outcome", f"{D}/Outcome/enum", ["ok", "error", "cancelled"]),
    (BACKWARD, "outcome", f"{D}/Outcome", {"const": "ok", "type": "string"}),
    (BACKWARD, "due", f"{P}/due", {"type": "string", "format": "date-time", "enum": ["x"]}),
    # limits, patterns, formats
    (BACKWARD, "attempt", f"{P}/attempt/minimum", 2),
    (FORWARD, "attempt", f"{P}/attempt/minimum", 0),
    (FORWARD, "attempt", f"{P}/attempt/minimum", None),
    (BACKWARD, "attempt", f"{P}/attempt", {"type": "integer", "minimum": 1, "maximum": 9}),
    (BACKWARD, "attempt", f"{P}/attempt", {"type": "integer", "exclusiveMinimum": 1}),
    (FORWARD, "ratio", f"{P}/ratio", {"type": "number", "maximum": 1}),
    (BACKWARD, "id", f"{P}/id/maxLength", 9),
    (FORWARD, "id", f"{P}/id/maxLength", 11),
    (BACKWARD, "id", f"{P}/id/pattern", "^[a-y]+$"),
    (FORWARD, "id", f"{P}/id/pattern", None),
    (BACKWARD, "steps", f"{P}/steps/maxItems", 4),
    (FORWARD, "due", f"{P}/due/format", "date"),
    (BACKWARD, "due", f"{P}/due", {"type": "string", "format": "date-time", "multipleOf": 2}),
    # arrays and maps
    (BACKWARD, "steps[]", f"{P}/steps/items", {"type": "string"}),
    (FORWARD, "tags.*", f"{P}/tags/additionalProperties", {"type": "integer"}),
    (FORWARD, "tags.*", f"{P}/tags/additionalProperties", True),
    (BACKWARD, "pair[1]", f"{P}/pair/prefixItems/1", {"type": "string"}),
    (BACKWARD, "by_step.*", f"{P}/by_step/patternProperties", {"^s": {"type": "string"}}),
    (BACKWARD, "tags (names)", f"{P}/tags/propertyNames", {"pattern": "^[a-z]$"}),
    (BACKWARD, "the message", "additionalProperties", False),
    # what changes behind a keyword that is compared as a whole
    (BACKWARD, "scale", f"{D}/Outcome/enum", ["ok", "error", "cancelled"]),
    # defaults
    (BACKWARD, "limit_s", f"{P}/limit_s/default", 900),
    (BACKWARD, "limit_s", f"{P}/limit_s/default", None),
]


@pytest.mark.parametrize(("direction", "place", "path", "value"), BREAKING)
def test_a_breaking_change_is_found_with_its_direction_and_place(direction, place, path, value):
    found = breaking_changes(OLD, _changed(path, value))
    assert any(said.startswith(f"{direction}: {place}: ") for said in found), found


ONE_WAY = [
    (BACKWARD, "required", ["id", "attempt", "outcome"]),
    (FORWARD, "required", ["id"]),
    (FORWARD, f"{P}/output", None),
    (BACKWARD, f"{P}/attempt/minimum", 2),
    (FORWARD, f"{P}/attempt/minimum", 0),
    (BACKWARD, f"{P}/limit_s/default", 900),
]


@pytest.mark.parametrize(("direction", "path", "value"), ONE_WAY)
def test_a_change_that_breaks_one_direction_is_not_blamed_on_the_other(direction, path, value):
    found = breaking_changes(OLD, _changed(path, value))
    assert found
    assert all(said.startswith(direction) for said in found), found


HARMLESS = [
    (f"{P}/cost", {"type": "number"}),
    (f"{D}/Error/properties/hint", {"anyOf": [{"type": "string"}, {"type": "null"}]}),
    (f"{D}/Unused", {"type": "string"}),
    (f"{P}/id/description", "better words"),
    (f"{P}/id/title", "Id"),
    ("title", "Message"),
    ("x-owner", "somebody"),
    ("additionalProperties", True),
    (f"{P}/attempt", {"type": "integer", "minimum": 1, "description": "counts from 1"}),
    (f"{P}/outcome", {"type": "string", "enum": ["error", "ok"]}),
    (f"{P}/limit_s/anyOf", [{"type": "null"}, {"type": "number"}]),
    (f"{P}/limit_s", {"type": ["number", "null"], "default": 600}),
    (f"{P}/due", {"type": "string", "format": "date-time", "minLength": 0}),
    (f"{P}/tree", {"type": "object", P: OLD[D]["Tree"][P]}),
]


@pytest.mark.parametrize(("path", "value"), HARMLESS)
def test_a_harmless_change_is_let_through(path, value):
    assert breaking_changes(OLD, _changed(path, value)) == []


def test_the_same_schema_breaks_nothing():
    assert breaking_changes(OLD, copy.deepcopy(OLD)) == []


@pytest.mark.parametrize("model", MESSAGES.values(), ids=MESSAGES.keys())
def test_no_message_breaks_itself_and_each_notices_the_loss_of_any_field(model):
    schema = message_schema(model)
    assert breaking_changes(schema, message_schema(model)) == []
    for name in schema["properties"]:
        less = copy.deepcopy(schema)
        del less["properties"][name]
        assert any(f"{name}: was removed" in said for said in breaking_changes(schema, less))


def test_a_reference_to_another_document_is_refused_rather_than_ignored():
    with pytest.raises(ValueError, match="only references within the document"):
        breaking_changes(OLD, {"$ref": "other.json"})
