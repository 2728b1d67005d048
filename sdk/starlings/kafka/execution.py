"""What happens to one record: decode, handle, try again, bury.

Rules:

- An offset is done when its handler has returned, or when the record has been buried. A handler
  publishes its results and awaits their acknowledgements before it returns.
- A handler that raises is our own bug, or trouble of Kafka or of the blob store, or of somebody
  else (a model). That of Kafka and of the blob store gets as many tries as it lasts: a healthy
  record must not be buried because a broker is away. All else gets a few tries, with the waits that
  it asks for, then the record goes to the dead letters. `Refused` says that no try will help.
- A record of which something is kept is begun when its custody has it, however long that takes.
- Burying is insisted on: a record that can be neither handled nor buried is not lost by being
  committed.
- A cancelled handler can see why (`cancellation()`). *Lost* and *shutdown* mean: publish nothing,
  the record will run elsewhere or later. *Requested* means: publish the cancelled result and
  return. It is cancelled once: a try after one whose result could not be published is not, and
  can see that there was one (`tried_before()`).
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol

import structlog
from aiokafka.errors import KafkaError, KafkaTimeoutError

from starlings.messages import (
    GROUP_HEADER,
    REDRIVE_HEADER,
    InvariantBroken,
    Message,
    StarlingsError,
    TransientError,
    UndecodableMessage,
    header,
)

from .codec import Received
from .custody import Custody
from .partition import Partition, Record

log = structlog.get_logger(__name__)

LONGEST_WAIT_S = 600.0  # whatever a provider asks for
_OUTAGES = frozenset({"kafka_unavailable", "blob_store"})

Handler = Callable[[Received], Awaitable[object]]
Burial = Callable[[Record, Exception], Awaitable[None]]


class Decoder(Protocol):
    """Reads records."""

    async def decode(
        self, record: Record, *, default: type[Message] | None = None
    ) -> Received | None:
        """Read a record; None for what is to be skipped.

        Raises:
            UndecodableMessage: it cannot be read, and never will be.
        """
        ...


class Refused(StarlingsError):  # noqa: N818 - the handler's judgement, not its mistake
    """The handler has judged the record: it goes to the dead letters without another try."""

    code = "refused"


class HandedBack(Exception):  # noqa: N818 - says what becomes of the record
    """The handler wants the record to be started again later, as if it had not been."""


class Cancellation(enum.Enum):
    """Why a running handler is cancelled; the argument of its `CancelledError`."""

    LOST = "lost"
    SHUTDOWN = "shutdown"
    REQUESTED = "requested"


@dataclass(slots=True)
class Counters:
    """What a parallel consumer has done since it was made."""

    handled: int = 0
    repeats: int = 0
    unknown: int = 0
    undecodable: int = 0
    poisoned: int = 0
    retried: int = 0
    cancelled: int = 0
    handed_back: int = 0
    rebuilt: int = 0
    rebalances: int = 0
    commits: int = 0
    commit_failures: int = 0


@dataclass(frozen=True, slots=True)
class Retry:
    """How often a failing handler is tried, and how long it rests in between."""

    tries: int = 5
    first_s: float = 0.2
    most_s: float = 10.0

    def pause_s(self, failures: int) -> float:
        """Seconds to rest after so many failures in a row."""
        return min(self.most_s, self.first_s * 2.0 ** min(failures - 1, 16))


class Running:
    """A record at work."""

    __slots__ = (
        "cancellation",
        "finished",
        "handling",
        "kept",
        "partition",
        "received",
        "record",
        "since",
        "task",
        "told",
        "tries",
    )

    def __init__(
        self, record: Record, partition: Partition, *, since: float = 0.0, kept: bool = False
    ) -> None:
        self.record = record
        self.since = since  # by the event loop's clock
        self.kept = kept  # something of it is in custody
        self.partition = partition
        self.received: Received | None = None
        self.task: asyncio.Task[None] | None = None
        self.handling = False
        self.finished = False
        self.cancellation: Cancellation | None = None
        self.told = False  # a handler has been cancelled: the next try is to answer for it
        self.tries = 0  # how often a handler was begun

    def cancel(self, reason: Cancellation) -> None:
        """Cancel it. A request waits for the handler to begin, which alone can answer it."""
        self.cancellation = reason
        if self.task is not None and (self.handling or reason is not Cancellation.REQUESTED):
            self.told = True
            self.task.cancel(reason)


_running: ContextVar[Running | None] = ContextVar("starlings_running", default=None)


def cancellation() -> Cancellation | None:
    """Say why the handler this is called from was cancelled; None while it was not."""
    running = _running.get()
    return running.cancellation if running else None


def tried_before() -> bool:
    """Say whether the handler this is called from was begun before for the same record, here."""
    running = _running.get()
    return running is not None and running.tries > 1


class Execution:
    """Brings records to their end, one task each."""

    def __init__(
        self,
        codec: Decoder,
        handler: Handler,
        *,
        on_poison: Burial,
        on_undecodable: Burial,
        retry: Retry,
        counters: Counters,
        default: type[Message] | None,
        group_id: str,
    ) -> None:
        self._codec = codec
        self._handler = handler
        self._on_poison = on_poison
        self._on_undecodable = on_undecodable
        self._retry = retry
        self._counters = counters
        self._default = default
        self._group_id = group_id
        self._trouble = ""  # that keeps records from being taken over, and has been told
        self.custody: Custody | None = None

    async def run(self, running: Running) -> None:
        """Bring one record to its end; `running.finished` says whether its offset is done."""
        _running.set(running)
        try:
            if running.kept and self.custody is not None:
                await self._take_over(self.custody, running)
            await self._until_done(running)
        except (asyncio.CancelledError, HandedBack) as reason:
            if running.kept and self.custody is not None:
                await self.custody.handed_back(running)
            if isinstance(reason, asyncio.CancelledError):
                raise
            log.info("a record is handed back", topic=running.record.topic, reason=str(reason))
            return
        running.finished = True  # whatever becomes of what is kept of it
        if running.kept and self.custody is not None:
            await self.custody.ended(running)

    async def _take_over(self, custody: Custody, running: Running) -> None:
        """Take a record over, for as long as that takes: without a claim it could run twice."""
        failures = 0
        while True:
            try:
                await custody.begin(running)
            except Exception as error:
                failures += 1
                self._tell_trouble(running.record, error)
            else:
                break
            await asyncio.sleep(self._retry.pause_s(failures))
        if failures and self._trouble:
            self._trouble = ""
            log.info("records are taken over again", topic=running.record.topic)

    def _tell_trouble(self, record: Record, error: Exception) -> None:
        """Say what keeps records from being taken over: once, not for each record and try."""
        trouble = str(error) if isinstance(error, StarlingsError) else repr(error)
        if trouble == self._trouble:
            return
        self._trouble = trouble
        known = isinstance(error, StarlingsError | KafkaError | TimeoutError)
        log.error(
            "no record can be taken over, it is tried again until that works",
            topic=record.topic,
            error=trouble,
            exc_info=None if known else error,
        )

    async def _until_done(self, running: Running) -> None:
        try:
            await self._once(running)
        except HandedBack:
            raise
        except Exception as error:
            await self._after(running, error)

    async def _once(self, running: Running) -> None:
        received = running.received
        if received is None:
            if self._is_for_another(running.record):
                self._counters.repeats += 1
                return
            received = await self._codec.decode(running.record, default=self._default)
            if received is None:
                self._counters.unknown += 1
                return
            running.received = received
        running.handling = True
        running.tries += 1
        if running.cancellation is Cancellation.REQUESTED and not running.told:
            running.cancel(running.cancellation)  # asked for before there was a handler to ask
        try:
            await self._handler(received)
        except asyncio.CancelledError as error:
            if running.task is not None and running.task.cancelling():
                raise
            raise InvariantBroken("the handler was cancelled from within, by nobody") from error
        finally:
            running.handling = False
        self._counters.handled += 1

    def _is_for_another(self, record: Record) -> bool:
        """Tell whether it was sent back to another group that reads this topic too."""
        headers = record.headers
        if not headers or headers[0][0] != REDRIVE_HEADER:
            return False
        return (header(headers, GROUP_HEADER) or self._group_id) != self._group_id

    async def _after(self, running: Running, error: Exception) -> None:
        failures = rested = 0
        while True:
            if running.received is None and isinstance(error, UndecodableMessage):
                await self._bury(self._on_undecodable, running.record, error)
                self._counters.undecodable += 1
                return None
            failures += 0 if _is_ours_to_wait_for(error) else 1
            if failures >= self._retry.tries or isinstance(error, Refused):
                await self._bury(self._on_poison, running.record, error)
                self._counters.poisoned += 1
                return None
            rested += 1
            await self._rest(running.record, error, tries=rested)
            try:
                return await self._once(running)
            except HandedBack:
                raise
            except Exception as again:
                error = again

    async def _rest(self, record: Record, error: Exception, *, tries: int) -> None:
        self._counters.retried += 1
        passing = isinstance(error, TransientError)
        asked_s = (error.retry_after_s or 0.0) if isinstance(error, TransientError) else 0.0
        pause_s = max(self._retry.pause_s(tries), min(asked_s, LONGEST_WAIT_S))
        log.warning(
            "handling a record failed, it will be tried again",
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            failures=tries,
            pause_s=pause_s,
            error=str(error) if passing else repr(error),
            exc_info=None if passing or _is_ours_to_wait_for(error) else error,
        )
        await asyncio.sleep(pause_s)

    async def _bury(self, burial: Burial, record: Record, error: Exception) -> None:
        failures = 0
        while True:
            try:
                return await burial(record, error)
            except Exception as trouble:
                failures += 1
                log.exception(
                    "burying a record failed, it will be tried again",
                    topic=record.topic,
                    partition=record.partition,
                    offset=record.offset,
                    error=repr(trouble),
                )
            await asyncio.sleep(self._retry.pause_s(failures))


def _is_ours_to_wait_for(error: Exception) -> bool:
    if isinstance(error, TransientError):
        return error.code in _OUTAGES
    # A timeout is what is left of retriable errors when the producer has tried them for too long.
    return isinstance(error, KafkaTimeoutError) or (
        isinstance(error, KafkaError) and bool(error.retriable)
    )
