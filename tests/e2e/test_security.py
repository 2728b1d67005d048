"""Wrong settings end a service with one line that names the setting; right ones let it work."""

from __future__ import annotations

import uuid

import pytest
from support.services import Services, running_services

from starlings.messages import RunOutcome, Topics

pytestmark = pytest.mark.kafka

PROGRAMS = ["coordinator", "planner", "math"]
EXIT_CONFIG = 2
REQUEST = (
    "Calculate 10 times 5 and count words in 'Hello World', "
    "then multiply the word count by the calculation result"
)


def refusals(services: Services) -> dict[str, str]:
    """Start each service, and see that it ends at once with one line; return the lines."""
    names = [services.spawn(program) for program in PROGRAMS]
    codes = {name: services.wait_end(name) for name in names}
    lines = {}
    for name, code in codes.items():
        assert code == EXIT_CONFIG, services.log(name)
        told = [line for line in services.log(name).splitlines() if "health endpoints" not in line]
        assert len(told) == 1, told
        lines[name] = told[0]
    return lines


def test_a_wrong_password_ends_each_service_naming_the_setting(secured_kafka, topics, tmp_path):
    wrong = {**secured_kafka.environment("app"), "KAFKA_SASL_PASSWORD": "no such password"}
    for line in refusals(Services(wrong, topics, tmp_path)).values():
        assert "KAFKA_SASL_PASSWORD: " in line
        assert "refuses the user 'app' with this password" in line
        assert "no such password" not in line


def test_tls_to_a_plaintext_port_ends_each_service_naming_the_setting(
    kafka, secured_kafka, topics, tmp_path
):
    wrong = {**secured_kafka.environment("app"), "KAFKA_BOOTSTRAP": kafka.bootstrap}
    for line in refusals(Services(wrong, topics, tmp_path)).values():
        assert f"KAFKA_SECURITY_PROTOCOL: it is SASL_SSL, but {kafka.bootstrap} does not" in line


def test_plaintext_to_a_tls_port_ends_each_service_naming_the_setting(
    secured_kafka, topics, tmp_path
):
    wrong = {"KAFKA_BOOTSTRAP": secured_kafka.bootstrap}
    for line in refusals(Services(wrong, topics, tmp_path)).values():
        assert "KAFKA_SECURITY_PROTOCOL: it is PLAINTEXT, but" in line
        assert "speaks TLS" in line


def test_services_refuse_to_start_without_topics_and_name_the_command(kafka, topics, tmp_path):
    services = Services({"KAFKA_BOOTSTRAP": kafka.bootstrap}, topics, tmp_path)
    lines = refusals(services)
    for line in lines.values():
        assert "run `starlings topics ensure" in line
        assert f"{topics.events}: missing" in line
    assert f"{topics.steps('math')}: missing" in lines["math"]
    assert lines["math"].endswith("run `starlings topics ensure --agent math`")


async def test_the_demo_request_on_a_broker_with_tls_scram_and_acls(secured_kafka, tmp_path):
    topics = Topics(f"app.t{uuid.uuid4().hex[:12]}.")
    environment = secured_kafka.environment("app")
    async with running_services(environment, topics, tmp_path) as services:
        services.start("coordinator", "planner", "math", "string")
        async with services.client() as client:
            done = await (await client.submit(REQUEST)).result(timeout_s=60)
        logs = {name: services.log(name) for name in list(services.running)}

    assert (done.outcome, done.output) == (RunOutcome.COMPLETED, 100)
    for name, log in logs.items():
        assert "[error" not in log, f"{name}: {log}"
        assert environment["KAFKA_SASL_PASSWORD"] not in log


async def test_a_user_without_rights_is_told_which_one_is_lacking(secured_kafka, tmp_path):
    topics = Topics(f"app.t{uuid.uuid4().hex[:12]}.")
    async with running_services(secured_kafka.environment("app"), topics, tmp_path) as services:
        services.kafka = secured_kafka.environment("spy")
        services.env |= services.kafka
        for line in refusals(services).values():
            assert "may not see" in line
            assert "ACL DESCRIBE" in line
