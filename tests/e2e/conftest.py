"""What end-to-end tests share: one running system per file, and readers of what came of it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator

import pytest
from support.cli_process import CommandLine
from support.kafka import Kafka
from support.services import Services, running_services

from starlings.messages import Topics


@pytest.fixture(scope="module")
def system(kafka: Kafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """A starter of services for all tests of a file; what a file needs, it starts once."""
    topics = Topics(f"t{uuid.uuid4().hex[:12]}.")
    with asyncio.Runner() as runner:
        context = running_services(kafka.bootstrap, topics, tmp_path_factory.mktemp("system"))
        services = runner.run(context.__aenter__())
        try:
            yield services
        finally:
            runner.run(context.__aexit__(None, None, None))


@pytest.fixture
def starlings(request: pytest.FixtureRequest) -> CommandLine:
    """The command line as a process of its own, beside the services of a test, or of its file."""
    beside = "system" if "system" in request.fixturenames else "services"
    return CommandLine(request.getfixturevalue(beside))
