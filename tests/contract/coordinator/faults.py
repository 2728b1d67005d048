"""Faults to be met on purpose: wires that are cut, blob stores that are away."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Generator
from typing import Any

from starlings.blobs import BlobStore, Claim
from starlings.kafka.codec import Codec
from starlings.kafka.connection import Connection
from starlings.kafka.publisher import Publisher
from starlings.messages import TransientError


class CutWire(Publisher):
    """A publisher whose process dies with its n-th message, or with that one's acknowledgement."""

    def __init__(
        self, connection: Connection, codec: Codec, *, after: int, arrives: bool = False
    ) -> None:
        super().__init__(connection, codec)
        self.cut = asyncio.Event()
        self._left = after
        self._arrives = arrives

    async def send_raw(self, *args: Any, **kwargs: Any) -> asyncio.Future[Any]:
        if self._left > 0:
            self._left -= 1
            return await super().send_raw(*args, **kwargs)
        if self._arrives and not self.cut.is_set():
            await (await super().send_raw(*args, **kwargs))
        self.cut.set()
        return asyncio.get_running_loop().create_future()


class AwayStore(BlobStore):
    """A blob store that cannot be reached while `away`."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.away = True
        self.tried = 0

    async def get(self, claim: Claim) -> bytes:
        self._reach()
        return await super().get(claim)

    async def put(self, *args: Any, **kwargs: Any) -> Claim:
        self._reach()
        return await super().put(*args, **kwargs)

    def _reach(self) -> None:
        if self.away:
            self.tried += 1
            raise TransientError("nobody answers", code="blob_store")


@contextlib.contextmanager
def silenced(actor: Any) -> Generator[None]:
    """Keep a coordinator from saying good-bye to its group, as the dead do not."""
    group = actor.coordinator._consumer._coordinator
    group._maybe_leave_group = _nothing
    yield


async def _nothing() -> None:
    """Say no good-bye."""
