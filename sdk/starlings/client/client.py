"""The client: one connection, any number of runs."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from datetime import datetime
from typing import Any, Self

from aiokafka import TopicPartition
from aiokafka.partitioner import DefaultPartitioner
from pydantic import BaseModel

from starlings.agents.event import new_event
from starlings.agents.react import summary_of
from starlings.agents.registry import Registry
from starlings.agents.registry_view import registry_view
from starlings.blobs import BlobStore
from starlings.kafka.codec import Codec, Received
from starlings.kafka.connection import Connection, KafkaSettings
from starlings.kafka.domain_events import DomainEventCodec
from starlings.kafka.follow import Follower
from starlings.kafka.publisher import Publisher
from starlings.messages import (
    Budget,
    ConfigError,
    FailurePolicy,
    Message,
    Plan,
    RetryPolicy,
    RunForked,
    RunRequested,
    Timeouts,
    message_id,
    run_key,
)
from starlings.service import ServiceSettings, load_settings
from starlings.telemetry import callers_traceparent

from .dead_letters import DeadLetters
from .handle import RunHandle, is_taken
from .listing import Listing, RunSummary
from .view import RunView

CONNECT_WITHIN_S = 10.0


def new_run_id() -> str:
    """Name a run so that names sort by time: 12 hex digits of milliseconds, 8 of chance."""
    return f"{int(time.time() * 1000):012x}-{os.urandom(4).hex()}"


class Client:
    """Submits and watches runs. Use it as an async context manager."""

    def __init__(
        self,
        *,
        kafka: KafkaSettings | None = None,
        settings: ServiceSettings | None = None,
        connect_within_s: float = CONNECT_WITHIN_S,
    ) -> None:
        self._connect_within_s = connect_within_s
        self._settings = settings or load_settings(ServiceSettings)
        self.topics = self._settings.topics
        self.connection = Connection(
            kafka or load_settings(KafkaSettings), client_id="starlings-client"
        )
        blobs = BlobStore(self._settings.blobs_url)
        self.codec = Codec(source=f"starlings/client/{self._settings.instance}", blobs=blobs)
        self._publisher = Publisher(self.connection, self.codec)
        self.dead_letters = DeadLetters(
            self.connection,
            self._publisher,
            topics=self.topics,
            blobs=blobs,
            views=self.views,
        )
        self._partition_of = DefaultPartitioner()
        self._partitions: list[int] = []

    async def __aenter__(self) -> Self:
        await self.connection.connect(wait_s=self._connect_within_s)
        self._partitions = list(await self.connection.partitions(self.topics.events))
        await self._publisher.start()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self._publisher.stop()

    # -- asking --------------------------------------------------------------------------------

    async def submit(
        self,
        request: str = "",
        *,
        plan: Plan | Mapping[str, Any] | list[Any] | None = None,
        run_id: str | None = None,
        tags: Mapping[str, str] | None = None,
        max_parallel: int | None = None,
        on_failure: FailurePolicy | None = None,
        retry: RetryPolicy | None = None,
        timeouts: Timeouts | None = None,
        timeout_s: float | None = None,
        deadline: datetime | None = None,
        undo_queue_s: float | None = None,
        routing: Mapping[str, Mapping[str, float]] | None = None,
        budget: Budget | None = None,
        max_replans: int | None = None,
    ) -> RunHandle:
        """Ask for a run, in words or with a plan of its own; return when Kafka has the request.

        The same `run_id` again is the same run, and starts nothing.

        Args:
            request: in words; beside a plan it is kept for whoever reads the log.
            plan: its steps, where no model is to be asked.
            run_id: None: a new one.
            tags: to find the run by.
            max_parallel: steps at once.
            on_failure: what a step that fails for good means; what was done is undone unless told.
            retry: how often steps are tried that say nothing else.
            timeouts: limits of attempts of steps that say nothing else.
            timeout_s: limit of the whole run, in seconds.
            deadline: end of the whole run.
            undo_queue_s: how long a compensation waits for its agent, in seconds; None: an hour.
            routing: shares of variants by agent, `{"shop": {"canary": 0.1}}`.
            budget: tokens, money and time that it may use.
            max_replans: how often its steps may have it planned anew; None: twice.
        """
        given = RunRequested(
            request=request,
            plan=plan.model_dump(mode="json") if isinstance(plan, Plan) else plan,
            run_id=run_id,
            tags=dict(tags or {}),
            max_parallel=max_parallel,
            on_failure=on_failure,
            retry=retry,
            timeouts=timeouts,
            timeout_s=timeout_s,
            deadline=deadline,
            undo_queue_s=undo_queue_s,
            routing=None if routing is None else {name: dict(routing[name]) for name in routing},
            budget=budget,
            max_replans=max_replans,
        )
        return await self.submit_request(given)

    async def submit_request(self, request: RunRequested) -> RunHandle:
        """Ask for a run with everything that a request can say."""
        run_id = request.run_id or new_run_id()
        # a name of the caller's own may be that of a run that has long begun, or ended
        start = None if request.run_id else await self._end_of(run_id)
        request = request.model_copy(update={"run_id": run_id})
        handle = RunHandle(self, run_id, start=start)
        await self._publisher.publish(
            self.topics.requests,
            run_key(run_id),
            request,
            id=message_id(run_id, request.NAME),
            subject=run_id,
            traceparent=callers_traceparent(),
        )
        return handle

    async def publish_fact(
        self, run_id: str, fact: Message, ident: str, *, replay: str | None = None
    ) -> int:
        """Publish a command as the fact that it was given; return its offset.

        `replay` says what a replay publishes, and of which run.
        """
        place = await self._publisher.publish(
            self.topics.events,
            run_key(run_id),
            fact,
            id=ident,
            subject=run_id,
            traceparent=callers_traceparent(),
            replay=replay,
        )
        return int(place.offset)

    async def fork(self, fact: RunForked, *, named: bool = True) -> RunHandle:
        """Begin a run on results of another one; return when it is seen to have begun.

        `named`: whether its id is of somebody's own choice, so that there may be such a run.

        Raises:
            CommandRefused: there is a run of that id, or somebody has asked for one.
        """
        start = None if named else await self._end_of(fact.run_id)
        handle = RunHandle(self, fact.run_id, start=start)
        if named and await self.was_requested(fact.run_id):
            raise is_taken(fact.run_id)
        await handle.begin(fact)
        return handle

    async def emit(
        self,
        event: BaseModel | str,
        payload: Any = None,
        *,
        correlation_id: str | None = None,
        event_id: str | None = None,
    ) -> RunHandle:
        """Emit a domain event, as a model or as a type with its payload; return its run.

        Without a correlation id the event begins a run of its own. The same `event_id` again is
        the same event: agents that have reacted to it lately drop it.

        Raises:
            ConfigError: nobody has made the topic of such events, or a name is not usable.
        """
        made = new_event(event, payload, id=event_id or new_run_id(), correlation_id=correlation_id)
        topic = self.topics.facts(made.type)
        if (await self.connection.find_topics([topic]))[topic].missing:
            raise ConfigError(
                f"there is no topic {topic}: no agent that listens to {made.type} has been started "
                f"yet; start one, or run `starlings topics ensure --fact {made.type}`"
            )
        mine = correlation_id is None and event_id is None
        start = await self._end_of(made.correlation_id) if mine else None
        value, headers = await DomainEventCodec(self.codec, self.topics).encode(
            made, traceparent=callers_traceparent(), summary=summary_of(made)
        )
        key = run_key(made.correlation_id)
        await self._publisher.forward(topic, key, value, headers=headers)
        return RunHandle(self, made.correlation_id, start=start)

    # -- watching ------------------------------------------------------------------------------

    def run(self, run_id: str) -> RunHandle:
        """Take hold of a run that somebody has asked for."""
        return RunHandle(self, run_id)

    async def read_run(
        self,
        run_id: str,
        start: int | None,
        *,
        follow: bool,
        until: Callable[[], bool] | None = None,
    ) -> AsyncGenerator[Received]:
        """Read the facts of one run from its partition; `until` says of what lies there: enough."""
        partition = self.partition_of(run_id)
        key = run_key(run_id)
        follower = Follower(
            self.connection,
            self.codec,
            self.topics.events,
            from_start=start is None,
            offsets=None if start is None else {partition: start},
            partitions=[partition],
            to_end=not follow,
            until=until,
            where=lambda record: record.key == key,
        )
        async with follower:
            async for received in follower:
                if isinstance(received, Received):
                    yield received

    async def was_requested(self, run_id: str) -> bool:
        """Tell whether somebody has asked for a run of this id, planned or not."""
        key = run_key(run_id)
        follower = Follower(
            self.connection,
            self.codec,
            self.topics.requests,
            from_start=True,
            to_end=True,
            where=lambda record: record.key == key,
        )
        async with follower:
            async for _ in follower:
                return True
        return False

    async def runs(self, *, since: datetime | None = None) -> list[RunSummary]:
        """List the runs that have a fact in the log since then, the newest last."""
        offsets = await self._offsets_at(since) if since else None
        listing = Listing()
        follower = Follower(
            self.connection,
            self.codec,
            self.topics.events,
            from_start=offsets is None,
            offsets=offsets,
            to_end=True,
            where=listing.wants,
        )
        async for received in follower:
            if isinstance(received, Received):
                listing.add(received)
        return listing.summaries()

    async def views(self, run_ids: Collection[str]) -> dict[str, RunView]:
        """See several runs as they stand now, by reading their partitions once."""
        views = {run_id: RunView(run_id) for run_id in run_ids}
        keys = {run_key(run_id) for run_id in run_ids}
        if not views:
            return views
        follower = Follower(
            self.connection,
            self.codec,
            self.topics.events,
            from_start=True,
            partitions=sorted({self.partition_of(run_id) for run_id in run_ids}),
            to_end=True,
            where=lambda record: record.key in keys,
        )
        async for received in follower:
            if isinstance(received, Received) and received.key is not None:
                views[received.key.decode()].add(received)
        return views

    async def registry(self) -> Registry:
        """See which agents are known and alive now."""
        async with registry_view(self.connection, self.codec, self.topics) as registry:
            return registry

    # -- places --------------------------------------------------------------------------------

    def partition_of(self, run_id: str) -> int:
        """Tell in which partition of `events` a run's facts lie."""
        return int(self._partition_of(run_key(run_id), self._partitions, self._partitions))

    async def _end_of(self, run_id: str) -> int:
        place = TopicPartition(self.topics.events, self.partition_of(run_id))
        async with self.connection.reading() as consumer:
            ends = await consumer.end_offsets([place])
        return int(ends[place])

    async def _offsets_at(self, since: datetime) -> dict[int, int]:
        at_ms = int(since.timestamp() * 1000)
        places = [TopicPartition(self.topics.events, p) for p in self._partitions]
        async with self.connection.reading() as consumer:
            found = await consumer.offsets_for_times(dict.fromkeys(places, at_ms))
            ends = await consumer.end_offsets(places)
        return {
            place.partition: found[place].offset if found.get(place) else ends[place]
            for place in places
        }
