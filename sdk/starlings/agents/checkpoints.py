"""The store of an agent's checkpoints: what must be remembered of its work across a crash.

Rules:
- A partition is restored (read to its end) before any work of it is started, and forgotten when
  its work is somebody else's. `restore` may be called again: it reads on from where it was.
- `put` and `drop` return when Kafka has acknowledged them; they try for as long as Kafka is away,
  so whoever must not wait bounds them. What was written is known here at once.
- A checkpoint that cannot be read goes to the dead letters and is as if absent: its claim holds
  nobody back, its answers are asked for again, its job is created again under the same idempotency
  key. One that a newer version wrote is kept as it is, and its work left alone.
- Records of one piece of work are written by one at a time. Where two write (an owner that was
  taken for dead comes back), the later record counts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import TypeVar

import structlog
from aiokafka import ConsumerRecord

from starlings.kafka.dead_letters import Copy, bury
from starlings.messages import (
    AttemptCheckpoint,
    CallCheckpoint,
    ErrorInfo,
    Headers,
    TransientError,
    UndecodableMessage,
    error_info,
    header,
    split_ce_type,
    split_key,
)
from starlings.service import KafkaPorts

from .checkpoint_reader import Following, read_to_end
from .checkpoint_view import Newer, View

log = structlog.get_logger(__name__)

T = TypeVar("T")
Checkpoint = AttemptCheckpoint | CallCheckpoint
Changed = Callable[[int, str], None]

PAUSES_S = (0.2, 0.5, 1.0, 2.0, 5.0)
_KINDS: dict[str, type[Checkpoint]] = {
    AttemptCheckpoint.NAME: AttemptCheckpoint,
    CallCheckpoint.NAME: CallCheckpoint,
}


class CheckpointStore:
    """The checkpoints of the partitions that this instance works on.

    `on_change` are called with the partition and the work of each record that somebody else may
    have written: while a partition is restored, and while it is followed.
    """

    def __init__(self, ports: KafkaPorts, topic: str) -> None:
        self.topic = topic
        self.on_change: list[Changed] = []
        self._ports = ports
        self._views: dict[int, View] = {}
        self._following: Following | None = None

    # -- reading -------------------------------------------------------------------------------

    def view(self, partition: int) -> View:
        """Give what is known of a partition; nothing, where it was not restored."""
        return self._views.setdefault(partition, View())

    def partitions(self) -> set[int]:
        """Name the partitions of which something is known."""
        return set(self._views)

    def of_partition(self, partition: int) -> Mapping[str, AttemptCheckpoint]:
        """Give what is remembered of each piece of work of a partition, by its work's name."""
        return self.view(partition).attempts

    def get(self, partition: int, work: str) -> AttemptCheckpoint | None:
        """Find what is remembered of a piece of work."""
        return self.view(partition).attempt(work)

    async def restore(self, partitions: Collection[int]) -> None:
        """Read partitions to their ends.

        Raises:
            KafkaError: Kafka is away; what was read stays.
            TransientError: a large value could not be fetched.
        """
        corrupt: dict[tuple[int, bytes], tuple[ConsumerRecord, UndecodableMessage]] = {}

        async def take(record: ConsumerRecord) -> None:
            key = (record.partition, record.key or b"")
            corrupt.pop(key, None)  # what came later stands in its place
            error = await self._take(record)
            if error is not None:
                corrupt[key] = (record, error)

        begin = {partition: self.view(partition).next for partition in partitions}
        await read_to_end(self._ports.connection, self.topic, begin, take, self._read_up_to)
        for record, error in corrupt.values():
            await self._put_aside(record, error)

    def follow(self, partitions: Collection[int], *, current: Callable[[], None]) -> None:
        """Follow these partitions from now on, and no others.

        `current` is called whenever all that lay in them has been read.
        """
        wanted = frozenset(partitions)
        if self._following is not None:
            if self._following.partitions == wanted:
                return
            self._following.cancel()
            self._following = None
        if wanted:
            begin = {partition: self.view(partition).next for partition in wanted}
            self._following = Following(
                self._ports.connection, self.topic, begin, self._take_loosely, self._read_up_to,
                current,
            )  # fmt: skip

    def forget(self, partition: int) -> None:
        """Forget what is known of a partition."""
        self._views.pop(partition, None)

    async def close(self) -> None:
        """Stop following."""
        following, self._following = self._following, None
        if following is not None:
            await following.close()

    # -- writing -------------------------------------------------------------------------------

    async def put(self, partition: int, checkpoint: Checkpoint) -> None:
        """Remember something; return when it is acknowledged.

        Raises:
            StarlingsError: `unencodable`.
            ConfigError: the topic is missing, or not for this user to write.
        """
        work = checkpoint.work
        value, headers = await _insist(
            lambda: self._ports.codec.encode(
                checkpoint,
                id=f"{checkpoint.key}/{checkpoint.NAME}",
                subject=work.partition("/")[0],
            )
        )
        offset = await self._write(partition, checkpoint.key, value, headers)
        self.view(partition).put(checkpoint.key, checkpoint, offset)

    async def drop(self, partition: int, work: str) -> None:
        """Take back all that is kept of a piece of work, since it has ended."""
        keys = self.view(partition).keys(work)
        # the answers first: whoever reads the end of the work needs them no more
        calls = [key for key in keys if key != work]
        await asyncio.gather(*(self._drop(partition, key) for key in calls))
        if work in keys:
            await self._drop(partition, work)

    async def bury(self, partition: int, work: str, reason: ErrorInfo) -> None:
        """Put what is remembered of a piece of work into the dead letters; it stays here as well.

        For what is a checkpoint, and yet nobody can go by it.
        """
        offset, kept = self.view(partition).offset(work), self.get(partition, work)
        if kept is None:
            return
        value, headers = await _insist(
            lambda: self._ports.codec.encode(
                kept, id=f"{kept.key}/{kept.NAME}", subject=work.partition("/")[0]
            )
        )
        record = Copy(self.topic, partition, offset, work.encode(), value, headers)
        await _insist(
            lambda: bury(self._ports.publisher, record, reason, topics=self._ports.topics)
        )

    async def _drop(self, partition: int, key: str) -> None:
        offset = await self._write(partition, key, None, [])
        self.view(partition).drop(key, offset)

    async def _write(self, partition: int, key: str, value: bytes | None, headers: Headers) -> int:
        place = await _insist(
            lambda: self._ports.publisher.forward(
                self.topic, key.encode(), value, headers=headers, partition=partition
            )
        )
        # a broker that had it already does not always say where
        return int(place.offset) if place.offset >= 0 else self.view(partition).next

    # -- one record ----------------------------------------------------------------------------

    def _read_up_to(self, partition: int, position: int) -> None:
        view = self.view(partition)
        view.next = max(view.next, position)

    async def _take_loosely(self, record: ConsumerRecord) -> None:
        error = await self._take(record)
        if error is not None:
            log.warning("a checkpoint cannot be read, it is as if absent", error=str(error))

    async def _take(self, record: ConsumerRecord) -> UndecodableMessage | None:
        key = (record.key or b"").decode(errors="replace")
        view = self.view(record.partition)
        if not view.is_news(key, record.offset):
            return None
        work, _ = split_key(key)
        try:
            if record.value is None:
                view.drop(key, record.offset)
            else:
                view.put(key, await self._decode(record, key), record.offset)
        except UndecodableMessage as error:
            view.forget(key)
            return error
        for changed in self.on_change:
            changed(record.partition, work)
        return None

    async def _decode(self, record: ConsumerRecord, key: str) -> Checkpoint | Newer:
        named = header(record.headers, "ce_type") or ""
        kind = split_ce_type(named)
        model = _KINDS.get(kind[0]) if kind else None
        if kind is not None and (model is None or kind[1] > model.VERSION):
            log.error(
                "a newer version wrote this checkpoint: its step waits for an instance of that"
                " version; roll the agent forward again",
                topic=record.topic,
                partition=record.partition,
                offset=record.offset,
                key=key,
                type=named,
            )
            return Newer(named)
        received = await self._ports.codec.decode(record)
        message = received.message if received is not None else None
        if not isinstance(message, AttemptCheckpoint | CallCheckpoint) or message.key != key:
            said = f"{record.topic}/{record.partition}/{record.offset}: no checkpoint of {key!r}"
            raise UndecodableMessage(said, code="bad_message")
        return message

    async def _put_aside(self, record: ConsumerRecord, error: UndecodableMessage) -> None:
        """Bury a checkpoint that cannot be read, and put something readable in its place."""
        log.error("a checkpoint cannot be read, it is as if absent", error=str(error))
        await _insist(
            lambda: bury(
                self._ports.publisher, record, error_info(error), topics=self._ports.topics
            )
        )
        key = (record.key or b"").decode(errors="replace")
        work, call = split_key(key)
        if call is None and work:  # a tombstone would say that the work has ended
            await self.put(record.partition, AttemptCheckpoint(work=work))
        else:
            await _insist(
                lambda: self._ports.publisher.forward(
                    self.topic, record.key, None, headers=[], partition=record.partition
                )
            )


async def _insist(attempt: Callable[[], Awaitable[T]]) -> T:
    """Try until it works, or fails for good."""
    failures = 0
    while True:
        try:
            return await attempt()
        except TransientError as error:
            pause_s = PAUSES_S[min(failures, len(PAUSES_S) - 1)]
            log.warning("no checkpoint written, trying again", error=str(error), pause_s=pause_s)
        failures += 1
        await asyncio.sleep(pause_s)
