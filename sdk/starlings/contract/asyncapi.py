"""The AsyncAPI 3.0 document of the whole system: channels, who sends, who receives, messages."""

from __future__ import annotations

from typing import Any

from starlings.messages import MESSAGES, Message, Topics

from .channels import CHANNELS, DEAD_LETTERS, DOMAIN_EVENTS, ROLES, Channel, Role
from .schemas import (
    claim_schema,
    dead_letter_headers_schema,
    domain_event_headers_schema,
    headers_schema,
)

ASYNCAPI = "3.0.0"
KAFKA_BINDING = "0.5.0"
DEAD_LETTER = "dead_letter"
DOMAIN_EVENT = "domain_event"
_Object = dict[str, Any]


def asyncapi_document(version: str) -> _Object:
    """Describe the system; payloads are references to the schema files beside the document."""
    return {
        "asyncapi": ASYNCAPI,
        "id": "urn:starlings",
        "info": {
            "title": "Starlings",
            "version": version,
            "description": "Plans of AI agents as choreography on Kafka: services meet on these "
            "topics only.\nReaders accept unknown fields and skip unknown types.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {channel.name: _channel(channel) for channel in CHANNELS},
        "operations": {name: op for role in ROLES for name, op in _operations(role).items()},
        "components": _components(),
    }


def _channel(channel: Channel) -> _Object:
    names = _message_names(channel)
    parameters = {"prefix": {"$ref": "#/components/parameters/prefix"}}
    for name in ("agent", "event_type"):
        if f"{{{name}}}" in channel.address:
            parameters[name] = {"$ref": f"#/components/parameters/{name}"}
    return {
        "address": channel.address,
        "title": channel.name,
        "description": channel.about,
        "parameters": parameters,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names},
        "bindings": {"kafka": _binding(channel)},
    }


def _binding(channel: Channel) -> _Object:
    settings: _Object = dict(channel.spec.settings)
    known: _Object = {"cleanup.policy": settings.pop("cleanup.policy").split(",")}
    if "retention.ms" in settings:
        known["retention.ms"] = int(settings.pop("retention.ms"))
    binding: _Object = {
        "partitions": channel.spec.partitions,
        "topicConfiguration": known,
        "bindingVersion": KAFKA_BINDING,
    }
    if settings:
        binding["x-topic-settings"] = settings
    return binding


def _message_names(channel: Channel) -> list[str]:
    names = [model.NAME for model in channel.messages]
    if channel.name == DOMAIN_EVENTS:
        return [DOMAIN_EVENT]
    return [DEAD_LETTER, *names] if channel.name == DEAD_LETTERS else names


def _operations(role: Role) -> dict[str, _Object]:
    operations = {}
    for action, traffic in (("receive", role.reads), ("send", role.writes)):
        for channel, models in traffic.items():
            names = [m.NAME for m in models]
            if channel == DEAD_LETTERS and (action == "receive" or not names):
                names = [DEAD_LETTER, *names]
            if channel == DOMAIN_EVENTS:
                names = [DOMAIN_EVENT]
            operation = _operation(role, action, channel, names)
            if action == "receive" and role.group and channel == role.group_reads:
                operation["bindings"] = {"kafka": _group(role.group)}
            operations[f"{role.name}_{action}_{channel}"] = operation
    return operations


def _operation(role: Role, action: str, channel: str, names: list[str]) -> _Object:
    messages = f"#/channels/{channel}/messages"
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "summary": f"{role.name}: {role.about}",
        "tags": [{"name": role.name}],
        "messages": [{"$ref": f"{messages}/{name}"} for name in names],
    }


def _group(name: str) -> _Object:
    prefix = Topics().prefix
    return {
        "groupId": {
            "type": "string",
            "description": "{prefix}" + name.removeprefix(prefix),
        },
        "bindingVersion": KAFKA_BINDING,
    }


def _components() -> _Object:
    prefix = {
        "default": Topics().prefix,
        "description": "prefix of all topics of one installation (STARLINGS_TOPIC_PREFIX)",
    }
    messages = {model.NAME: _message(model) for model in MESSAGES.values()}
    return {
        "parameters": {
            "prefix": prefix,
            "agent": {"description": "name of an agent"},
            "event_type": {"description": "type of a domain event, as in ticket_created"},
        },
        "messages": {**messages, DEAD_LETTER: _dead_letter(), DOMAIN_EVENT: _domain_event()},
        "schemas": {
            "headers": headers_schema(),
            "dead_letter_headers": dead_letter_headers_schema(),
            "domain_event_headers": domain_event_headers_schema(),
            "claim_check": {
                key: value for key, value in claim_schema().items() if not key.startswith("$")
            },
        },
    }


def _message(model: type[Message]) -> _Object:
    return {
        "name": model.CE_TYPE,
        "title": model.NAME,
        "summary": (model.__doc__ or "").strip().splitlines()[0],
        "contentType": "application/json",
        "headers": {"$ref": "#/components/schemas/headers"},
        "payload": {"$ref": f"./{model.NAME}/v{model.VERSION}.json"},
    }


def _dead_letter() -> _Object:
    return {
        "name": DEAD_LETTER,
        "title": DEAD_LETTER,
        "summary": "A message that could not be handled: its value and headers untouched.",
        "contentType": "application/octet-stream",
        "headers": {"$ref": "#/components/schemas/dead_letter_headers"},
        "payload": {"description": "any bytes"},
    }


def _domain_event() -> _Object:
    return {
        "name": DOMAIN_EVENT,
        "title": DOMAIN_EVENT,
        "summary": "An event of an author's own; any producer may write it, with headers or none.",
        "contentType": "application/json",
        "headers": {"$ref": "#/components/schemas/domain_event_headers"},
        "payload": {"description": "what its author's model says"},
    }
