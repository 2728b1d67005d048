"""Publishing what has been done already, for as long as it takes.

A handler whose result Kafka does not take would have to be run again, and what it did once more
paid for. So the result is kept, and published when Kafka takes it: when a broker is back, a topic
is there, or somebody has allowed it. That ends otherwise only where the handler is cancelled, since
its partition or its process is gone; then the work runs elsewhere, under the same ids.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from starlings.messages import StarlingsError

log = structlog.get_logger(__name__)

T = TypeVar("T")

PAUSES_S = (0.2, 0.5, 1.0, 2.0, 5.0)
UNSENDABLE = frozenset({"message_too_large", "unencodable"})  # no other try would help


async def until_taken(publish: Callable[[], Awaitable[T]], *, what: str) -> T:
    """Publish until it is acknowledged; say once what is in the way.

    Raises:
        StarlingsError: one of `UNSENDABLE`.
    """
    failures = 0
    while True:
        try:
            taken = await publish()
        except StarlingsError as error:
            if error.code in UNSENDABLE:
                raise
            if not failures:
                log.warning("not published yet, it is kept and tried again", what=what,
                            error=str(error))  # fmt: skip
        else:
            if failures:
                log.info("published at last", what=what, failures=failures)
            return taken
        await asyncio.sleep(PAUSES_S[min(failures, len(PAUSES_S) - 1)])
        failures += 1
