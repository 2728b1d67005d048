"""The published documents: AsyncAPI, topics, and the gate that guards them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest
import yaml

from starlings.blobs import BlobStore
from starlings.contract import CHANNELS, ROLES, broken_releases, drift, release, write
from starlings.contract.__main__ import main
from starlings.contract.channels import readers_of, writers_of
from starlings.contract.schemas import (
    dead_letter_headers_schema,
    domain_event_headers_schema,
    headers_schema,
)
from starlings.kafka.codec import Codec
from starlings.kafka.domain_events import CORRELATION, HOPS, TRAIL, DomainEventCodec
from starlings.messages import (
    FACTS,
    MESSAGES,
    DomainEvent,
    Envelope,
    Topics,
    attempt_id,
    following,
    message_id,
    origin_key,
    run_id_at,
)

ROOT = Path(__file__).parents[2]
SCHEMAS = ROOT / "schemas"
ASYNCAPI = yaml.safe_load((SCHEMAS / "asyncapi.yaml").read_text())


@pytest.fixture
def folder(tmp_path):
    copy = tmp_path / "schemas"
    shutil.copytree(SCHEMAS, copy)
    return copy


def _references(node: object) -> Iterator[str]:
    if isinstance(node, list):
        for item in node:
            yield from _references(item)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref":
                yield value
            else:
                yield from _references(value)


def _resolve(reference: str) -> object:
    file, _, pointer = reference.partition("#")
    found = json.loads((SCHEMAS / file).read_text()) if file else ASYNCAPI
    for part in pointer.strip("/").split("/"):
        found = found[part] if part else found
    return found


def test_every_reference_of_the_asyncapi_document_resolves():
    references = list(_references(ASYNCAPI))
    assert len(references) > len(MESSAGES)
    for reference in references:
        assert isinstance(_resolve(reference), dict), reference


def test_the_asyncapi_document_has_the_shape_of_version_3():
    assert ASYNCAPI["asyncapi"] == "3.0.0"
    assert {"title", "version"} <= ASYNCAPI["info"].keys()
    for operation in ASYNCAPI["operations"].values():
        assert operation["action"] in ("send", "receive")
        channel = operation["channel"]["$ref"]
        for message in operation["messages"]:
            assert message["$ref"].startswith(f"{channel}/messages/")
    for channel in ASYNCAPI["channels"].values():
        named = {part.split("}")[0] for part in channel["address"].split("{")[1:]}
        assert named == channel["parameters"].keys()


def test_headers_and_payload_schemas_are_valid_json_schema():
    for schema in ASYNCAPI["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)
    for file in SCHEMAS.rglob("v*.json"):
        jsonschema.Draft202012Validator.check_schema(json.loads(file.read_text()))


def test_the_headers_that_are_written_are_the_headers_that_are_published():
    traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    envelope = Envelope("r1/x", "starlings.step_done.v1", "tests", "r1", 1, traceparent, "r1/y")
    written = {name: value.decode() for name, value in envelope.headers()}
    published = headers_schema()
    jsonschema.validate(written, published)
    assert published["properties"].keys() - written.keys() == {
        "starlings_claim",
        "starlings_group",
        "starlings_redrive",
    }


async def test_the_headers_of_a_domain_event_are_those_that_are_published():
    event = DomainEvent(type="opened", id="e", correlation_id="r", value=b"{}")
    event = following(event, agent="a", index=0, type="answered", value=b"{}")
    codec = Codec(source="tests", blobs=BlobStore("memory:///"))
    _, headers = await DomainEventCodec(codec, Topics()).encode(event)
    written = {name: value.decode() for name, value in headers}
    published = domain_event_headers_schema()
    jsonschema.validate(written, published)
    assert written.keys() <= published["properties"].keys()
    page = (ROOT / "docs" / "choreography.md").read_text()
    assert [name for name in (CORRELATION, HOPS, TRAIL) if f"`{name}`" not in page] == []


def test_the_page_on_messages_tells_of_every_header_and_names_ids_as_they_are_made():
    page = (ROOT / "docs" / "messages.md").read_text()
    headers = headers_schema()["properties"] | dead_letter_headers_schema()["properties"]
    assert [name for name in headers if f"`{name}`" not in page] == []
    for made in (
        message_id("r1", "plan_created"),
        attempt_id("r1", "total", 2, "step_ready"),
        run_id_at("<topic>", "<partition>", "<offset>").replace("-topic-", "<topic>"),
    ):
        assert f"`{made}`" in page


def test_every_message_lies_on_one_topic_and_somebody_writes_and_reads_it():
    for model in MESSAGES.values():
        assert [c.name for c in CHANNELS if model in c.messages] != []
        assert writers_of(model)
        assert readers_of(model)
    assert {model for role in ROLES for model in role.reads.get("events", ())} == set(FACTS)


def test_roles_read_and_write_only_what_lies_on_the_channel():
    by_name = {channel.name: channel for channel in CHANNELS}
    for role in ROLES:
        for traffic in (role.reads, role.writes):
            for channel, models in traffic.items():
                assert set(models) <= set(by_name[channel].messages)


def test_the_topics_file_has_every_topic_as_the_code_makes_it():
    published = yaml.safe_load((SCHEMAS / "topics.yaml").read_text())["topics"].values()
    topics = Topics(prefix="p.")
    specs = [*topics.core_specs(), *topics.agent_specs("math"), *topics.event_specs("opened")]
    made = {s.name: (s.partitions, s.settings) for s in specs}
    names = {t["name"].format(prefix="p.", agent="math", event_type="opened"): t for t in published}
    assert {n: (t["partitions"], t["settings"]) for n, t in names.items()} == made
    dead = next(t for t in published if "dead" in t["name"])
    key = dead["key"].format(topic="t", partition=1, offset=2)
    assert key.encode() == origin_key("t", 1, 2)


def test_what_is_committed_is_what_the_models_say():
    assert drift(SCHEMAS) == []
    assert broken_releases(SCHEMAS) == []


def test_the_gate_names_a_file_that_was_edited_is_missing_or_is_left_over(folder, capsys):
    (folder / "topics.yaml").write_text("topics: {}\n")
    (folder / "step_done" / "v1.json").unlink()
    (folder / "step_dreamt").mkdir()
    (folder / "step_dreamt" / "v1.json").write_text("{}")
    assert main(["check", str(folder)]) == 1
    said = capsys.readouterr().out
    for path in ("topics.yaml", "step_done/v1.json", "step_dreamt/v1.json"):
        assert path in said
    assert "make schemas" in said


def test_writing_mends_the_drift_and_touches_nothing_made_by_hand(folder, capsys):
    (folder / "topics.yaml").write_text("topics: {}\n")
    (folder / "step_dreamt").mkdir()
    (folder / "step_dreamt" / "v1.json").write_text("{}")
    examples = sorted((folder / "examples").iterdir())
    assert write(folder) == ["step_dreamt/v1.json", "topics.yaml"]
    assert write(folder) == []
    assert main(["check", str(folder)]) == 0
    assert sorted((folder / "examples").iterdir()) == examples
    assert capsys.readouterr().out == ""


def test_the_gate_fails_where_a_released_version_would_break(folder, capsys):
    pinned = folder / "released" / "step_done" / "v1.json"
    old = json.loads(pinned.read_text())
    old["properties"]["cost"] = {"type": "number"}
    old["required"].append("cost")
    pinned.write_text(json.dumps(old))
    assert main(["check", str(folder)]) == 1
    said = capsys.readouterr().out
    assert "step_done/v1.json: old readers and new messages: cost: was removed" in said
    before = pinned.read_text()
    assert main(["release", str(folder)]) == 1
    assert pinned.read_text() == before


def test_the_gate_fails_where_a_released_message_is_gone(folder):
    gone = folder / "released" / "step_dreamt"
    gone.mkdir()
    (gone / "v1.json").write_text('{"type": "object"}')
    assert broken_releases(folder) == ["step_dreamt/v1.json: released, but no longer published"]


def test_a_release_pins_every_message(tmp_path):
    assert release(tmp_path) == []
    pinned = {p.relative_to(tmp_path / "released").as_posix() for p in tmp_path.rglob("*.json")}
    assert pinned == {f"{m.NAME}/v{m.VERSION}.json" for m in MESSAGES.values()}
    assert broken_releases(tmp_path) == []
