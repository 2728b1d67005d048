"""One cluster, the images of this checkout, one Kafka and one release for all tests of a session.

These tests install things, so they run only where somebody says so: `make test-k8s`.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import AsyncIterator, Iterator

import pytest
from support.k8s.cluster import Cluster, NoCluster, cluster
from support.k8s.images import Images, build_and_load
from support.k8s.load import Load
from support.k8s.release import PARTITIONS, Release
from support.kafka import listening_at, run_folder
from support.services import Services

from starlings.broker import LocalBroker
from starlings.broker.ports import free_port
from starlings.kafka.admin import ensure_topics
from starlings.messages import Topics
from starlings.messages.topics import TopicSpec

DEMANDED = "STARLINGS_TEST_K8S"
KAFKA = "STARLINGS_TEST_CLUSTER_KAFKA"

collect_ignore_glob = [] if os.environ.get(DEMANDED) else ["test_*.py"]


@pytest.fixture(scope="session")
def a_cluster() -> Iterator[Cluster]:
    """The cluster, with a namespace of this session's own."""
    with contextlib.ExitStack() as stack:
        try:
            found = stack.enter_context(cluster(f"starlings-test-{uuid.uuid4().hex[:8]}"))
        except NoCluster as error:
            if os.environ.get("CI"):
                pytest.fail(str(error), pytrace=False)
            pytest.skip(str(error))
        yield found


@pytest.fixture(scope="session")
def images(a_cluster: Cluster) -> Images:
    """The images of this checkout, on the nodes."""
    return build_and_load()


@pytest.fixture(scope="session")
def bootstrap(a_cluster: Cluster) -> Iterator[str]:
    """A Kafka that pods and this machine reach by the same address."""
    if demanded := os.environ.get(KAFKA):
        yield demanded
        return
    address, port = a_cluster.address_of_this_machine(), free_port()
    settings = listening_at(address, port)
    with LocalBroker(run_folder() / "for-pods", port=port, settings=settings):
        yield f"{address}:{port}"


@pytest.fixture(scope="session")
def release(a_cluster: Cluster, images: Images, bootstrap: str) -> Iterator[Release]:
    """The chart, installed with two built-in agents and two of our own."""
    found = Release(a_cluster, images, bootstrap, f"k{uuid.uuid4().hex[:8]}.")
    found.bring_code()
    found.install()
    yield found
    found.uninstall()


@pytest.fixture
def installation(release: Release, tmp_path) -> Services:
    """The release as clients see it."""
    return Services({"KAFKA_BOOTSTRAP": release.bootstrap}, Topics(release.prefix), tmp_path)


@pytest.fixture
async def load(release: Release, installation: Services) -> AsyncIterator[Load]:
    """Work for the agents, and its audit."""
    journal = TopicSpec(release.journal, PARTITIONS)
    await ensure_topics(installation.connection(), [journal], replication=1)
    async with installation.client() as client:
        yield Load(installation, client, journal=release.journal)
