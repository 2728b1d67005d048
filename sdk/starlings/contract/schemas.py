"""JSON Schema 2020-12 of each message, and of what travels around it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from starlings.blobs import Claim
from starlings.kafka.codec import CLAIM_ABOVE_BYTES, CLAIM_HEADER
from starlings.kafka.dead_letters import CODE, KEY, MESSAGE, ORIGIN
from starlings.kafka.domain_events import CORRELATION, HOPS, TRAIL
from starlings.messages import GROUP_HEADER, REDRIVE_HEADER, Message
from starlings.messages.base import ID_PATTERN
from starlings.messages.domain import LONGEST_EVENT_ID

Schema = dict[str, Any]
DIALECT = "https://json-schema.org/draft/2020-12/schema"


class _PlainSchema(GenerateJsonSchema):
    """Without titles that only repeat a field's name."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002
        return False


def message_schema(model: type[Message]) -> Schema:
    """Describe the JSON value of a message; unknown fields are accepted, as everywhere."""
    return {
        "$schema": DIALECT,
        "$id": f"urn:starlings:message:{model.NAME}:v{model.VERSION}",
        "x-cloudevents-type": model.CE_TYPE,
        **_schema(model),
    }


def claim_schema() -> Schema:
    """Describe what stands in the place of a large value."""
    return {
        "$schema": DIALECT,
        "$id": "urn:starlings:claim-check:v1",
        **_schema(Claim),
        "description": f"Stands in the place of a value above {CLAIM_ABOVE_BYTES:,} bytes, which "
        f"lies in the object store; the header `{CLAIM_HEADER}` announces it.",
    }


def headers_schema() -> Schema:
    """Describe the Kafka headers: CloudEvents 1.0 in binary mode, as UTF-8 text."""
    text = {"type": "string"}
    return {
        "type": "object",
        "description": "CloudEvents 1.0 in Kafka's binary content mode; values are UTF-8 text.",
        "required": ["ce_specversion", "ce_id", "ce_type", "ce_source", "ce_subject", "ce_time"],
        "properties": {
            "ce_specversion": {"const": "1.0"},
            "ce_id": {**text, "description": "same decision, same id: readers drop repeats by it"},
            "ce_type": {**text, "pattern": r"^starlings\.[a-z_]+\.v\d+$"},
            "ce_source": {**text, "description": "service and instance that wrote it"},
            "ce_subject": {**text, "description": "run id; the agent's name on `agents`"},
            "ce_time": {**text, "format": "date-time"},
            "content-type": {"const": "application/json"},
            "traceparent": {**text, "description": "W3C trace context"},
            "ce_causationid": {**text, "description": "ce_id of the message that caused this one"},
            CLAIM_HEADER: {"const": "1", "description": "the value is a claim check"},
            REDRIVE_HEADER: {
                **text,
                "description": "sent back from the dead letters: where it lay first, `#`, how "
                "often; the first header, and the id by which repeats of it are known",
            },
            GROUP_HEADER: {**text, "description": "the one consumer group that it is sent back to"},
        },
    }


def dead_letter_headers_schema() -> Schema:
    """Describe the headers that a dead letter has beside its own."""
    text = {"type": "string"}
    return {
        "type": "object",
        "description": "Beside the headers that the message had where it lay.",
        "required": [CODE, MESSAGE, ORIGIN, KEY],
        "properties": {
            CODE: {**text, "description": "what is wrong, for programs"},
            MESSAGE: {**text, "description": "what is wrong, for people"},
            ORIGIN: {**text, "description": "topic/partition/offset where it lay"},
            KEY: {**text, "description": "the key it had, byte for byte; empty for none"},
            GROUP_HEADER: {**text, "description": "the consumer group that could not handle it"},
        },
    }


def domain_event_headers_schema() -> Schema:
    """Describe the headers of a domain event; each of them may be missing."""
    text = {"type": "string"}
    own = {
        "ce_id": {**text, "maxLength": LONGEST_EVENT_ID, "description": "else where it lies"},
        "ce_type": {**text, "description": "`facts.` and its type; the topic is what counts"},
        "ce_subject": {**text, "description": "the correlation id"},
        "ce_causationid": {**text, "description": "ce_id of the event that led to this one"},
        CORRELATION: {
            **text,
            "pattern": ID_PATTERN,
            "description": "the run; else the record's key, where that can name one, or the place",
        },
        HOPS: {**text, "pattern": r"^\d+$", "description": "how many reactions lie before it"},
        TRAIL: {**text, "description": "types of the latest events before it, with commas between"},
    }
    ours = headers_schema()
    return {
        "type": "object",
        "description": "CloudEvents 1.0 in Kafka's binary content mode; values are UTF-8 text.",
        "properties": {**ours["properties"], **own},
    }


def _schema(model: type[BaseModel]) -> Schema:
    return model.model_json_schema(schema_generator=_PlainSchema)
