"""The judge of breaking changes is sound: what it lets through, readers can read."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from starlings.contract import breaking_changes

NAMES = st.sampled_from(["a", "b", "c"])
SMALL = st.integers(min_value=0, max_value=3)
SCALARS = st.one_of(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["integer", "number"])},
        optional={"minimum": SMALL, "exclusiveMinimum": SMALL, "maximum": SMALL},
    ),
    st.fixed_dictionaries(
        {"type": st.just("string")},
        optional={"minLength": SMALL, "maxLength": SMALL, "pattern": st.sampled_from(["x", "y"])},
    ),
    st.fixed_dictionaries({"enum": st.lists(st.sampled_from(["x", 1, None]), min_size=1)}),
    st.just({"type": "null"}),
    st.just({}),
)


def _objects(inner):
    return st.fixed_dictionaries(
        {"type": st.just("object"), "properties": st.dictionaries(NAMES, inner, min_size=1)},
        optional={"required": st.lists(NAMES, unique=True)},
    )


def _nested(inner):
    return st.one_of(
        _objects(inner),
        st.fixed_dictionaries(
            {"type": st.just("array"), "items": inner},
            optional={"minItems": SMALL, "maxItems": SMALL},
        ),
        st.fixed_dictionaries({"type": st.just("object"), "additionalProperties": inner}),
        st.fixed_dictionaries({"anyOf": st.lists(inner, min_size=1, max_size=2)}),
    )


SCHEMAS = st.recursive(SCALARS, _nested, max_leaves=6)
VALUES = st.recursive(
    st.sampled_from([None, 0, 1, 2, 3, 1.5, "", "x", "y", "xy", "xxx"]),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=3)),
    max_leaves=5,
)


@st.composite
def _versions(draw):
    """Two schemas: mostly one with a place of it drawn anew, so that many pairs do agree."""
    old = draw(SCHEMAS)
    return old, draw(st.one_of(SCHEMAS, st.just(_redrawn(draw, old))))


def _redrawn(draw, schema):
    if not isinstance(schema, dict) or not schema or draw(st.integers(0, 4)) == 0:
        return draw(SCHEMAS)
    changed = dict(schema)
    key = draw(st.sampled_from(sorted(changed)))
    if key == "properties":
        name = draw(NAMES)
        changed[key] = {**changed[key], name: _redrawn(draw, changed[key].get(name, {}))}
    elif key in ("items", "additionalProperties"):
        changed[key] = _redrawn(draw, changed[key])
    elif key != "type":
        del changed[key]
    return changed


def _writes(schema, value) -> bool:
    """Tell whether a writer of this schema writes the value: valid, with declared fields only."""
    return Draft202012Validator(_closed(schema)).is_valid(value)


def _closed(schema):
    if isinstance(schema, list):
        return [_closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {k: v if k in ("enum", "required") else _closed(v) for k, v in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        inner["properties"] = {k: _closed(v) for k, v in schema["properties"].items()}
        inner["additionalProperties"] = False
    return inner


@settings(max_examples=300, deadline=None)
@given(_versions(), st.lists(VALUES, min_size=5, max_size=10))
def test_what_is_let_through_can_be_read_in_both_directions(versions, values):
    old, new = versions
    if breaking_changes(old, new):
        return
    for value in values:
        if _writes(old, value):
            assert Draft202012Validator(new).is_valid(value)
        if _writes(new, value):
            assert Draft202012Validator(old).is_valid(value)


@given(SCHEMAS)
def test_no_schema_breaks_itself(schema):
    assert breaking_changes(schema, schema) == []
