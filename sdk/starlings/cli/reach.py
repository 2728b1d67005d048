"""Which Kafka the commands talk to.

`KAFKA_BOOTSTRAP` (from the environment or `.env`) if set; else the broker that `starlings broker
up`, `dev` or `demo` runs on this machine; else the usual address, 127.0.0.1:9092.
"""

from __future__ import annotations

import os
from contextlib import suppress

from starlings.client import Client
from starlings.kafka.connection import Connection, KafkaSettings
from starlings.service import ServiceSettings, load_settings

CONNECT_WITHIN_S = 3.0


def kafka_settings() -> KafkaSettings:
    """Read the settings, with the local broker's address where none is set."""
    settings = load_settings(KafkaSettings)
    if is_demanded(settings):
        return settings
    local = local_bootstrap()
    return settings.model_copy(update={"bootstrap": local}) if local else settings


def is_demanded(settings: KafkaSettings) -> bool:
    """Tell whether somebody has said which Kafka it is to be."""
    return "bootstrap" in settings.model_fields_set


def local_bootstrap() -> str | None:
    """Find the broker that runs on this machine; None where there is none."""
    with suppress(ImportError):  # the extra starlings[broker] may be missing
        from starlings.broker import status  # noqa: PLC0415 - as said

        found = status()
        return found.bootstrap if found.status == "running" else None
    return None


def use_local_broker() -> None:
    """Let everything that this process starts talk to the local broker, where none is named."""
    settings = kafka_settings()
    if not is_demanded(load_settings(KafkaSettings)):
        os.environ["KAFKA_BOOTSTRAP"] = settings.bootstrap


def connection() -> Connection:
    """Make a connection; `connect` it first."""
    return Connection(kafka_settings(), client_id="starlings-cli")


def patience_s() -> float:
    """Say how long to wait for Kafka: not at all where none was named and none runs here."""
    demanded = is_demanded(load_settings(KafkaSettings))
    return CONNECT_WITHIN_S if demanded or local_bootstrap() else 0.0


def client() -> Client:
    """Make a client, to be entered."""
    return Client(
        kafka=kafka_settings(),
        settings=load_settings(ServiceSettings),
        connect_within_s=patience_s(),
    )
