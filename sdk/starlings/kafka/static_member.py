"""Static membership (KIP-345): a member that keeps its seat in the group over a restart.

The group knows such a member by its *instance id*, a name that outlives the process. Who joins
under a name that is taken gets the seat of whoever had it, partitions and all, at once and without
a rebalance; the earlier one is *fenced*. aiokafka (0.14) does half of that. This is the other half:

- Heartbeats and commits carry the instance id (`group_requests.py`), so that a fenced process
  learns that it is fenced, and a commit of it is refused.
- A fenced process ends, with a `ConfigError` that names its instance id. It must not join again:
  it would fence its successor, and so on for ever.
- A clean stop gives the seat back (`LeaveGroup` with the instance id), unless the consumer was told
  to keep it. Else its partitions would rest until the session times out.
- A broker that knows nothing of instance ids is refused. aiokafka would leave the id out, and say
  nothing.
- Every member watches how many partitions the topics have. Else only the leader does, and one that
  comes back to its seat is not told that it leads.
"""

from __future__ import annotations

import contextlib
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.client import ConnectionGroup
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import CommitFailedError, KafkaError
from aiokafka.protocol.group import JoinGroupRequest

from starlings.messages import ConfigError

from .group_requests import NamedLeaveGroup, is_fenced, named, not_understood


def keep_seat(consumer: AIOKafkaConsumer) -> None:
    """Let a consumer that is about to be stopped keep its seat: its successor is near."""
    if isinstance(consumer, StaticMember):
        consumer.leaves = False


class _RefusedError(ConfigError, KafkaError):  # type: ignore[misc]
    """For those within the client who wait: they know only errors of its own kind."""

    def __str__(self) -> str:
        """Say it without the name of the class."""
        return str(self.args[0])


class StaticMember(AIOKafkaConsumer):  # type: ignore[misc]  # the client has no types
    """A consumer with `group_instance_id`; it raises `ConfigError` where it cannot be one."""

    def __init__(self, *topics: str, leave_on_stop: bool = True, **options: Any) -> None:
        self.leaves = leave_on_stop
        super().__init__(*topics, **options)

    @property
    def _coordinator(self) -> Any:
        return self._seat

    @_coordinator.setter
    def _coordinator(self, made: Any) -> None:
        """Take what `start` has made, before it has run: that offers no way to choose its class."""
        if made is not None:
            made.__class__ = _Seat
            made.owner = self
        self._seat = made


class _Seat(GroupCoordinator):  # type: ignore[misc]
    """The consumer's view of its group."""

    owner: StaticMember
    refusal: ConfigError | None = None
    _group_subscription: set[str] | None

    async def _send_req(self, request: Any) -> Any:
        if self.refusal is not None:
            raise self.refusal
        if isinstance(request, JoinGroupRequest):
            self._refuse_old_broker()
        response = await super()._send_req(named(request, self._group_instance_id))
        if is_fenced(response):
            self.refusal = self._fenced()
            raise self.refusal
        return response

    def _refuse_old_broker(self) -> None:
        connection = self._client._conns.get((self.coordinator_id, ConnectionGroup.COORDINATION))  # noqa: SLF001
        missing = not_understood(connection._versions) if connection is not None else []  # noqa: SLF001
        if missing:
            self.refusal = ConfigError(
                f"STARLINGS_STATIC_MEMBERSHIP=true: broker {connection.host}:{connection.port} has"
                f" no static membership (it lacks {', '.join(missing)}); it takes Apache Kafka 2.4"
                " or newer, so switch it off"
            )
            raise self.refusal

    def _fenced(self) -> ConfigError:
        return ConfigError(
            f"STARLINGS_INSTANCE={self._group_instance_id}: two processes use one"
            f" STARLINGS_INSTANCE; another one has joined the group {self.group_id!r} under it, so"
            " this one ends. Each process needs a name of its own, such as its pod's"
        )

    # -- where a refusal would be taken for a failure that passes ----------------------------------

    def check_errors(self) -> None:
        """Raise it to whoever polls."""
        if self.refusal is not None:
            raise self.refusal
        super().check_errors()

    async def ensure_active_group(self, subscription: Any, prev_assignment: Any) -> Any:
        """Wait with it, instead of trying to join again."""
        try:
            return await super().ensure_active_group(subscription, prev_assignment)
        except ConfigError as error:
            await self._push_error_to_user(error)
            return None

    def _push_error_to_user(self, exc: Exception) -> Any:
        return super()._push_error_to_user(
            _RefusedError(str(exc)) if isinstance(exc, ConfigError) else exc
        )

    async def _do_commit_offsets(self, assignment: Any, offsets: Any) -> None:
        try:
            await super()._do_commit_offsets(assignment, offsets)
        except ConfigError as error:
            raise CommitFailedError from error

    # -- leaving, and watching ---------------------------------------------------------------------

    async def _maybe_leave_group(self) -> None:
        """Leave at a stop, but not for having polled nothing for long: the process is there."""
        if self._closing.done() and self.owner.leaves and self.generation > 0:
            leave = NamedLeaveGroup(self.group_id, self.member_id, self._group_instance_id)
            # Else the seat is another's by now, or the end of the session will free it.
            with contextlib.suppress(KafkaError, ConfigError):
                await self._send_req(leave)
        self.reset_generation()

    async def _on_join_complete(self, *joined: Any) -> None:
        if self._group_subscription is None:
            await self._client._maybe_wait_metadata()  # noqa: SLF001
            self._group_subscription = set(self._subscription.subscription.topics)
            self._metadata_snapshot = self._get_metadata_snapshot()
        await super()._on_join_complete(*joined)
