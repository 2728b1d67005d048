"""Each program runs as a Kafka user of its own, who may do what is listed for it and no more."""

from __future__ import annotations

import uuid

import pytest
from support.cli_process import CommandLine
from support.services import PARTITIONS, Services

from starlings.agents.loading import builtin_agents
from starlings.kafka.admin import ensure_topics
from starlings.kafka.connection import Connection
from starlings.messages import RunOutcome, Topics
from starlings.messages.access import (
    rights_of_agent,
    rights_of_client,
    rights_of_coordinator,
    rights_of_planner,
    rights_of_watcher,
)

pytestmark = pytest.mark.kafka

AGENTS = ("math", "string")
REQUEST = (
    "Calculate 10 times 5 and count words in 'Hello World', "
    "then multiply the word count by the calculation result"
)


@pytest.fixture
async def installation(secured_kafka, tmp_path):
    """Topics that an administrator made, and rights as they are listed."""
    topics = Topics(f"own.t{uuid.uuid4().hex[:12]}.")
    definitions = {a.name: a.definition() for a in builtin_agents() if a.name in AGENTS}
    services = Services(secured_kafka.environment("client"), topics, tmp_path)
    admin = Services(secured_kafka.environment("admin"), topics, tmp_path).kafka_settings()
    specs = topics.core_specs(partitions=PARTITIONS) + topics.specs_of(definitions.values())
    await ensure_topics(Connection(admin), specs, replication=1)
    secured_kafka.grant("planner", rights_of_planner(topics))
    secured_kafka.grant("coordinator", rights_of_coordinator(topics))
    secured_kafka.grant("client", rights_of_client(topics))
    for name, definition in definitions.items():
        secured_kafka.grant(name, rights_of_agent(topics, definition))
    yield services
    services.stop_all()


async def test_the_demo_runs_with_exactly_the_rights_that_are_listed(installation, secured_kafka):
    programs = ("planner", "coordinator", *AGENTS)
    names = [
        installation.spawn(program, env=secured_kafka.environment(program)) for program in programs
    ]
    installation.wait_ready(*names)
    async with installation.client() as client:
        done = await (await client.submit(REQUEST)).result(timeout_s=90)
    stopped = installation.stop_all()
    logs = {name: installation.log(name) for name in names}

    assert (done.outcome, done.output) == (RunOutcome.COMPLETED, 100)
    assert stopped == dict.fromkeys(names, 0)
    for name, log in logs.items():
        assert "[error" not in log, f"{name}: {log}"
        assert "Authorization" not in log, f"{name}: {log}"
        assert "needs the ACL" not in log, f"{name}: {log}"


async def test_the_doctor_says_what_a_user_may_be_and_what_it_lacks_to_be_another(
    installation, secured_kafka
):
    for name in AGENTS:  # the registry knows them from now on
        installation.spawn(name, env=secured_kafka.environment(name))
    installation.wait_ready(*AGENTS)
    secured_kafka.grant("coordinator", rights_of_watcher(installation.topics))
    installation.env |= secured_kafka.environment("coordinator")
    starlings = CommandLine(installation)

    looked = await starlings("doctor", "--deployment", "--service", "math", "--json")

    found = {f["said"]: f for f in looked.document if f["what"] == "rights"}
    assert "coordinator may be: coordinator, client, watcher" in found
    (lacks,) = [f for f in found.values() if f["verdict"] == "fail"]
    assert f"READ on group {installation.topics.agent_group('math')}" in lacks["said"]
    assert lacks["remedy"] == "`starlings topics acls math` lists what it needs"
    assert looked.code == 1
