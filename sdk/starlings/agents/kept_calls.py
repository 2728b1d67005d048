"""The memory of an attempt's calls on Kafka: it outlives this process."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import JsonValue

from starlings.messages import CallCheckpoint

from .call_record import A_CALL, Asked
from .checkpoints import CheckpointStore
from .once import Kept


class KeptCalls:
    """Remembers in the checkpoints of the step's partition."""

    def __init__(
        self,
        store: CheckpointStore,
        partition: int,
        work: str,
        offset: int,
        *,
        on_keep: Callable[[], None],
    ) -> None:
        self._store = store
        self._partition = partition
        self._work = work
        self._offset = offset
        self._on_keep = on_keep

    def find(self, name: str, asked: Asked = A_CALL) -> Kept | None:  # noqa: ARG002 - for replays
        """Look an answer up, as it was restored with the partition."""
        return self._store.view(self._partition).call(self._work, name)

    def permit(self, name: str, asked: Asked, *, void: bool) -> None:
        """Let all calls be made."""

    async def keep(self, name: str, answer: JsonValue) -> None:
        """Write an answer, and wait until that is acknowledged."""
        self._on_keep()
        kept = CallCheckpoint(work=self._work, offset=self._offset, call=name, answer=answer)
        await self._store.put(self._partition, kept)
