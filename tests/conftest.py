"""Fixtures that tests of all kinds share; what they stand on is in `tests/support`."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from support.command_line import CommandLine, command_line
from support.kafka import (
    Kafka,
    SecuredKafka,
    close_run_folder,
    not_to_be_had,
    open_run_folder,
    run_folder,
    session_kafka,
    session_secured_kafka,
)
from support.services import Services, running_services

from starlings.broker import LocalBroker
from starlings.messages import Topics
from starlings.messages.errors import StarlingsError

# Readline, where something imports it, tells all child processes the width of a terminal.
os.environ.pop("COLUMNS", None)
# The machine does other things as well: slow says nothing about an example.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


def pytest_configure(config):
    open_run_folder(config)


def pytest_unconfigure(config):
    close_run_folder(config)


@pytest.fixture
def starlings(monkeypatch, tmp_path) -> Iterator[CommandLine]:
    """The command line in this process, in an empty folder and without settings."""
    yield from command_line(monkeypatch, tmp_path)


@pytest.fixture(scope="session")
def kafka() -> Iterator[Kafka]:
    """The session's real Apache Kafka; `.bootstrap` is its address."""
    with contextlib.ExitStack() as stack:
        try:
            found = stack.enter_context(session_kafka())
        except StarlingsError as error:
            not_to_be_had(error)
            raise
        yield found


@pytest.fixture(scope="session")
def secured_kafka() -> SecuredKafka:
    """The session's Apache Kafka behind SASL_SSL, SCRAM and ACLs."""
    try:
        return session_secured_kafka()
    except StarlingsError as error:
        not_to_be_had(error)
        raise


@pytest.fixture
def own_broker() -> Iterator[LocalBroker]:
    """A started broker of the test's own, to kill and to pause."""
    broker = LocalBroker(run_folder() / f"own-{uuid.uuid4().hex}")
    try:
        broker.start()
    except StarlingsError as error:
        not_to_be_had(error)
    with broker:
        yield broker


@pytest.fixture
def topics() -> Topics:
    """Names under a prefix of this test's own."""
    return Topics(f"t{uuid.uuid4().hex[:12]}.")


@pytest.fixture
async def services(kafka: Kafka, topics: Topics, tmp_path: Path) -> AsyncIterator[Services]:
    """Starts planner, coordinator and agents as processes, under this test's own prefix."""
    async with running_services(kafka.bootstrap, topics, tmp_path) as services:
        yield services
