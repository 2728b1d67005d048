"""The claims of this instance: which of its records at work it has told the others about.

A record that has been at work for `after_s` is claimed, and the claim renewed every third of a
lease, so that short steps write nothing. Where no renewal came through for a whole lease (the
process stood still, or Kafka was away), the others may have taken the work over: then the log is
read before anything is written, and work that somebody else has claimed or ended is cancelled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

import structlog

from starlings.kafka.execution import Cancellation, Running
from starlings.kafka.partition import id_of
from starlings.messages import AttemptCheckpoint, Claim, ConfigError, StarlingsError, work_of

from .checkpoints import CheckpointStore

log = structlog.get_logger(__name__)

CLAIM_AFTER_S = 1.0
LEASE_S = 5.0
RENEWALS = 3  # in a lease
RELEASE_WITHIN_S = 2.0
AGAIN_AFTER_S = 1.0  # after claims could not be written
REFUSED_MOST_S = 10.0  # where Kafka refuses them again and again


@dataclass(frozen=True, slots=True)
class ClaimSettings:
    """When work is claimed, and for how long a claim holds without a renewal."""

    after_s: float = CLAIM_AFTER_S
    lease_s: float = LEASE_S

    @property
    def renew_s(self) -> float:
        """Seconds between two renewals."""
        return self.lease_s / RENEWALS


@dataclass(eq=False, slots=True)
class OwnClaim:
    """A claim on one record at work."""

    running: Running
    work: str
    said: float | None = None  # when the last acknowledged renewal was sent
    renewal: int = 0
    busy: bool = False
    over: bool = False
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def partition(self) -> int:
        """Number of the partition of the record, and of its claim."""
        return int(self.running.partition.tp.partition)

    @property
    def offset(self) -> int:
        """Where the record lies."""
        return int(self.running.record.offset)


class OwnClaims:
    """Makes, renews and ends the claims of one instance."""

    def __init__(
        self,
        store: CheckpointStore,
        *,
        instance: str,
        settings: ClaimSettings,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._instance = instance
        self._settings = settings
        self._clock = clock
        self._by_running: dict[Running, OwnClaim] = {}
        self._by_work: dict[tuple[int, str], OwnClaim] = {}
        self._saying: set[asyncio.Task[None]] = set()
        self._failures = 0  # in a row
        self._resting_until = float("-inf")

    def of(self, running: Running) -> OwnClaim | None:
        """Find the claim on a record."""
        return self._by_running.get(running)

    def on(self, partition: int, work: str) -> OwnClaim | None:
        """Find the claim on a piece of work."""
        return self._by_work.get((partition, work))

    def partitions(self) -> set[int]:
        """Name the partitions with claims of ours."""
        return {partition for partition, _ in self._by_work}

    # -- claiming ------------------------------------------------------------------------------

    def due(self, at_work: Iterable[Running]) -> list[OwnClaim]:
        """List the claims to be made or renewed now; records come in the order of their start."""
        self._purge()
        now, due = self._clock(), []
        if now < self._resting_until:
            return []
        for running in at_work:
            claim = self._by_running.get(running)
            if running.finished or (claim is not None and claim.over):
                continue
            if claim is None:
                if now - running.since < self._settings.after_s:
                    break
                due.append(self._add(running))
            elif not claim.busy and now - (claim.said or 0.0) >= self._settings.renew_s:
                due.append(claim)
        return due

    def unclaimed(self, at_work: Iterable[Running]) -> list[OwnClaim]:
        """List the claims that are missing on records at work, however young those are."""
        claims = [self.of(r) or self._add(r) for r in at_work if not r.finished]
        return [claim for claim in claims if claim.said is None and not claim.over]

    def say_soon(self, claims: Collection[OwnClaim]) -> asyncio.Task[None]:
        """Write claims, without holding up whoever asks."""
        for claim in claims:
            claim.busy = True
        saying = asyncio.create_task(self.say(claims))
        self._saying.add(saying)
        saying.add_done_callback(self._has_said)
        return saying

    async def say(self, claims: Collection[OwnClaim]) -> None:
        """Write claims; return when all are acknowledged, or found to be taken over."""
        doubtful = {claim.partition for claim in claims if self._is_doubtful(claim)}
        try:
            if doubtful:
                await self._store.restore(doubtful)
                for claim in claims:
                    self.look(claim)
            await asyncio.gather(*(self._say(claim) for claim in claims))
        finally:
            for claim in claims:
                claim.busy = False

    async def claim(self, running: Running) -> None:
        """Claim a record before it is begun."""
        await self.say([self.of(running) or self._add(running)])

    def look(self, claim: OwnClaim) -> None:
        """Cancel work that somebody else has claimed or ended."""
        if claim.over:
            return
        attempt = self._store.get(claim.partition, claim.work)
        other = attempt.claim if attempt is not None else None
        foreign = other is not None and other.instance != self._instance
        if not foreign and not self._store.view(claim.partition).ended(claim.work):
            return
        claim.over = True
        log.warning(
            "another instance has taken this work over, it is stopped here",
            work=claim.work,
            by=other.instance if other is not None else None,
        )
        claim.running.cancel(Cancellation.LOST)

    # -- ending --------------------------------------------------------------------------------

    async def end(self, running: Running) -> bool:
        """Let go of a record; False where somebody else has it, or it has become a job."""
        claim = self.of(running) or self._add(running)
        self._by_work.pop((claim.partition, claim.work), None)
        was_over, claim.over = claim.over, True
        async with claim.turn:  # what is being written comes first
            return not was_over

    async def release(self, running: Running) -> None:
        """Tell the others, within a bound, that a record is theirs again."""
        claim = self._by_running.get(running)
        if claim is None:
            return
        try:
            async with asyncio.timeout(RELEASE_WITHIN_S):
                if await self.end(running) and claim.renewal:
                    await self._store.put(claim.partition, self._checkpoint(claim, None))
        except (StarlingsError, TimeoutError) as error:
            log.warning("a claim ends with its lease only", work=claim.work, error=repr(error))

    async def keep_job(self, running: Running, job: dict[str, Any]) -> None:
        """Write the state of a job in place of the claim."""
        claim = self.of(running) or self._add(running)
        async with claim.turn:
            checkpoint = AttemptCheckpoint(work=claim.work, offset=claim.offset, job=job)
            await self._store.put(claim.partition, checkpoint)
            claim.over = True

    async def close(self) -> None:
        """Stop writing."""
        for saying in self._saying:
            saying.cancel()
        await asyncio.gather(*self._saying, return_exceptions=True)

    # -- one claim -----------------------------------------------------------------------------

    def _add(self, running: Running) -> OwnClaim:
        claim = OwnClaim(running, work_of(id_of(running.record).decode(errors="replace")))
        self._by_running[running] = claim
        self._by_work[claim.partition, claim.work] = claim
        running.kept = True
        return claim

    def _purge(self) -> None:
        """Forget what has ended; until then it must not be claimed once more."""
        for running, claim in list(self._by_running.items()):
            if claim.over and running.task is not None and running.task.done():
                del self._by_running[running]

    def _is_doubtful(self, claim: OwnClaim) -> bool:
        since = claim.running.since if claim.said is None else claim.said
        return self._clock() - since > self._settings.lease_s

    async def _say(self, claim: OwnClaim) -> None:
        async with claim.turn:
            if claim.over:
                return
            claim.renewal += 1
            sent = self._clock()
            word = Claim(
                instance=self._instance, lease_s=self._settings.lease_s, renewal=claim.renewal
            )
            await self._store.put(claim.partition, self._checkpoint(claim, word))
            claim.said = sent

    def _checkpoint(self, claim: OwnClaim, word: Claim | None) -> AttemptCheckpoint:
        return AttemptCheckpoint(work=claim.work, offset=claim.offset, claim=word)

    def _has_said(self, saying: asyncio.Task[None]) -> None:
        self._saying.discard(saying)
        if saying.cancelled():
            return
        if (error := saying.exception()) is not None:
            self._rest(error)
        elif self._failures:
            self._failures, self._resting_until = 0, float("-inf")
            log.info("claims are written again")

    def _rest(self, error: BaseException) -> None:
        """Try no more for a while: each refusal costs the process its producer."""
        most_s = REFUSED_MOST_S if isinstance(error, ConfigError) else AGAIN_AFTER_S
        pause_s = min(AGAIN_AFTER_S * 2.0 ** min(self._failures, 16), most_s)
        self._resting_until = self._clock() + min(pause_s, self._settings.lease_s)
        self._failures += 1
        if self._failures == 1:
            said = str(error) if isinstance(error, StarlingsError) else repr(error)
            log.error("claims not written, they will be when that works again", error=said)
