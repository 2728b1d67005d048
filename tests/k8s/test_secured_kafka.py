"""A Kafka with users and TLS: pods and KEDA get to it by the same Secrets. Traces are told."""

from __future__ import annotations

import pytest
from support.certificates import Authority
from support.collector import collector
from support.k8s.release import SCALING, Release
from support.kafka import PASSWORDS, SecuredKafka, listening_at, run_folder
from support.services import Services
from support.waiting import wait_until

from starlings.broker import BrokerSecurity, LocalBroker
from starlings.broker.ports import free_port
from starlings.messages import RunOutcome, Topics

pytestmark = [pytest.mark.slow, pytest.mark.timeout(480, func_only=True)]

NAME, PREFIX, USER = "secured-starlings", "app.", "app"
USER_SECRET, AUTHORITY_SECRET = "kafka-user", "kafka-ca"
PROGRAMS = {"starlings-planner", "starlings-coordinator", "starlings-agent-math"}
SUM = [{"id": "sum", "agent": "math", "tool": "add", "args": {"a": 2, "b": 3}}]


@pytest.fixture(scope="module")
def secured(a_cluster):
    """A Kafka behind SASL_SSL that pods reach, and the Secrets with which they do."""
    address, port = a_cluster.address_of_this_machine(), free_port()
    folder = run_folder() / "secured-for-pods"
    authority = Authority(folder / "certificates")
    keystore = authority.issue("broker", address)
    security = BrokerSecurity(keystore, authority.cafile, PASSWORDS)
    settings = listening_at(address, port)
    told = f"--from-literal=username={USER}", f"--from-literal=password={PASSWORDS[USER]}"
    a_cluster.kubectl("create", "secret", "generic", USER_SECRET, *told)
    told = (f"--from-file=ca.crt={authority.cafile}",)
    a_cluster.kubectl("create", "secret", "generic", AUTHORITY_SECRET, *told)
    with LocalBroker(folder / "broker", port=port, settings=settings, security=security):
        found = SecuredKafka(f"{address}:{port}", authority.cafile)
        found.allow(USER, PREFIX)
        yield found


@pytest.fixture
def traces(a_cluster):
    """A collector that pods reach."""
    with collector(a_cluster.address_of_this_machine()) as found:
        yield found


@pytest.fixture
def secured_release(a_cluster, images, secured, traces):
    """Three programs, installed for that Kafka; `math` is started by KEDA alone."""
    found = Release(a_cluster, images, secured.bootstrap, PREFIX, NAME)
    values = found.values() | {
        "kafka": {
            "bootstrapServers": secured.bootstrap,
            "securityProtocol": "SASL_SSL",
            "sasl": {"existingSecret": USER_SECRET},
            "tls": {"existingSecret": AUTHORITY_SECRET},
        },
        "otlp": {"endpoint": traces.web.url},
        "coordinator": {"replicas": 1},
        "agents": {"math": {"autoscaling": SCALING | {"initialCooldownPeriod": 20}}},
    }
    found.install(values)
    yield found
    found.uninstall()


async def test_a_request_wakes_an_agent_by_the_lag_of_its_group_on_a_secured_kafka(
    secured, secured_release, traces, tmp_path
):
    await secured_release.wait_replicas("agent-math", 0, timeout_s=180)
    services = Services(secured.environment(USER), Topics(PREFIX), tmp_path)
    async with services.client() as client:
        run = await client.submit("Two and three", plan=SUM)
        done = await run.result(timeout_s=120)
    assert done.outcome is RunOutcome.COMPLETED, done
    await wait_until(
        lambda: {span.service for span in traces.spans()} == PROGRAMS,
        timeout_s=30,
        message="each program has told of its part",
    )
    assert len({span.trace_id for span in traces.spans()}) == 1
    assert "Succeeded" in secured_release.cluster.helm("test", NAME, within_s=90)
