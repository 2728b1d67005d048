"""The contract of the messages: models, published schemas and examples say the same."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from aiokafka import ConsumerRecord
from jsonschema import Draft202012Validator, FormatChecker

from starlings.blobs import BlobStore
from starlings.choreography.snapshot import load, save
from starlings.kafka.codec import Codec
from starlings.messages import MESSAGES, Envelope, Headers, Message, StepDone, ce_type

SCHEMAS = Path(__file__).parents[2] / "schemas"
MODELS = [pytest.param(model, id=model.NAME) for model in MESSAGES.values()]


def _schema(model: type[Message]) -> dict:
    return json.loads((SCHEMAS / model.NAME / f"v{model.VERSION}.json").read_text())


def _example(model: type[Message]) -> dict:
    file = SCHEMAS / "examples" / f"{model.NAME}.v{model.VERSION}.json"
    return json.loads(file.read_text())


def _record(value: dict, headers: Headers) -> ConsumerRecord:
    body = json.dumps(value).encode()
    return ConsumerRecord(
        topic="starlings.events",
        partition=0,
        offset=7,
        timestamp=1,
        timestamp_type=0,
        key=b"r1",
        value=body,
        checksum=None,
        serialized_key_size=2,
        serialized_value_size=len(body),
        headers=tuple(headers),
    )


@pytest.fixture
def codec():
    with tempfile.TemporaryDirectory() as folder:
        yield Codec(source="tests", blobs=BlobStore(Path(folder).as_uri()))


def _headers(kind: str) -> Headers:
    return Envelope("r1/x", kind, "tests", "r1", 1).headers()


@pytest.mark.parametrize("model", MODELS)
def test_a_published_schema_is_valid_json_schema_and_names_no_address(model):
    schema = _schema(model)
    Draft202012Validator.check_schema(schema)
    assert schema["$id"] == f"urn:starlings:message:{model.NAME}:v{model.VERSION}"
    assert schema["x-cloudevents-type"] == ce_type(model.NAME, model.VERSION)
    del schema["$schema"]  # the dialect's name only looks like an address
    assert "://" not in json.dumps(schema)


@pytest.mark.parametrize("model", MODELS)
def test_an_example_is_valid_and_comes_back_unchanged(model):
    example = _example(model)
    validator = Draft202012Validator(_schema(model), format_checker=FormatChecker())
    validator.validate(example)
    written = model.model_validate(example).model_dump(mode="json")
    assert written == example
    validator.validate(written)


@pytest.mark.parametrize("model", MODELS)
def test_an_example_shows_every_field(model):
    assert _example(model).keys() == model.model_fields.keys()


@pytest.mark.parametrize("model", MODELS)
def test_what_has_only_the_required_fields_is_valid_for_schema_and_model(model):
    schema = _schema(model)
    least = {name: _example(model)[name] for name in schema.get("required", ())}
    Draft202012Validator(schema).validate(least)
    model.model_validate(least)


@pytest.mark.parametrize("model", MODELS)
def test_unknown_fields_are_accepted_at_every_depth(model):
    later = _with_unknown_fields(_example(model))
    Draft202012Validator(_schema(model)).validate(later)
    model.model_validate(later)


def _with_unknown_fields(value):
    """Add a field to each object that is not a map of free keys."""
    if isinstance(value, list):
        return [_with_unknown_fields(item) for item in value]
    if not isinstance(value, dict):
        return value
    free = (
        "tags",
        "attempts",
        "limits",
        "holds",
        "args",
        "input",
        "output",
        "progress",
        "parameters",
        "takes",
        "routing",
        *(("answers", "failures", "tools") if "left_out" in value else ()),
    )
    inner = {k: v if k in free else _with_unknown_fields(v) for k, v in value.items()}
    return {**inner, "comes_with_a_later_version": {"x": 1}}


@pytest.mark.parametrize("model", MODELS)
async def test_a_record_with_unknown_fields_and_headers_is_read(model, codec):
    headers = [*_headers(model.CE_TYPE), ("comes_later", b"\xff")]
    record = _record({**_example(model), "comes_later": 1}, headers)
    received = await codec.decode(record)
    assert received.message == model.model_validate(_example(model))


@pytest.mark.parametrize(
    "kind", ["starlings.step_dreamt.v1", "starlings.step_done.v2", "com.example.order", ""]
)
async def test_unknown_types_and_newer_versions_are_skipped(kind, codec):
    assert await codec.decode(_record(_example(StepDone), _headers(kind))) is None


def test_every_file_of_examples_belongs_to_a_message():
    known = {f"{model.NAME}.v{model.VERSION}.json" for model in MESSAGES.values()}
    assert {file.name for file in (SCHEMAS / "examples").iterdir()} == known


def test_the_example_of_a_snapshot_restores_a_run():
    example = _example(MESSAGES["run_snapshot"])
    run = load(example["run_id"], example["plan_offset"], example["state"])
    assert [step.phase.value for step in run.order] == ["done", "done", "released"]
    assert save(run) == example["state"]
