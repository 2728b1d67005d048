"""Two sites for each contract of the Kafka room: plain, and behind TLS, SCRAM and ACLs."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack

import pytest
from support.sites import Site, site_of

from starlings.kafka.publisher import Publisher


@pytest.fixture(params=["plain", "secured"])
def site(request, tmp_path) -> Site:
    """A plain Kafka, then a secured one."""
    return site_of(request.param, request, tmp_path)


@pytest.fixture
def collected_here() -> Iterator[None]:
    """Have refused connections collected within the tests that are known for them."""
    yield
    gc.collect()


@pytest.fixture
def plain_site(request, tmp_path) -> Site:
    """A plain Kafka, for what security does not touch."""
    return site_of("plain", request, tmp_path)


@pytest.fixture
async def publisher_at() -> AsyncIterator[Callable[[Site], Awaitable[Publisher]]]:
    """Start publishers, which are stopped after the test."""
    async with AsyncExitStack() as stack:

        async def start(at: Site) -> Publisher:
            publisher = Publisher(at.connection, at.codec)
            await publisher.start()
            stack.push_async_callback(publisher.stop)
            return publisher

        yield start
