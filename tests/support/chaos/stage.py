"""The stage: real processes, a load, and one method for each kind of blow.

With each blow a run is asked for on every partition of `events`, that takes no time of its own:
the time until all of these have ended is the recovery time, as somebody who asks sees it.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

from starlings.broker import LocalBroker
from starlings.client import Client
from starlings.kafka.follow import Follower
from starlings.messages import RunDone, StarlingsError, header
from support.asking import bare_producer, records_in, steps_committed
from support.beside import beside
from support.services import PARTITIONS, Services
from support.waiting import wait_until, wait_until_sync

from . import agent, workload
from .evidence import Blow
from .schedules import Act, Scenario, Size, dice
from .workload import AGENTS, Asked

AGENT = str(Path(agent.__file__))
SKEWED = str(Path(__file__).parent / "skewed")
FORGOTTEN_AFTER_S = 10.0  # a dead member of a group: its session timeout, and the rebalance
SETTLED_AFTER_S = 12.0  # an outage: who was thought dead has come back
ASK_AGAIN_S = 0.5
ENDED_WITHIN_S = 90.0
GO_ON_S = 2.0  # runs are asked for a while after the last blow, too
SAID = {"assigned": "partitions assigned", "recovered": "partition recovered"}


class Stage:
    """One scenario being played."""

    def __init__(
        self,
        services: Services,
        client: Client,
        *,
        scenario: Scenario,
        size: Size,
        seed: int,
        broker: LocalBroker | None,
    ) -> None:
        self.services = services
        self.asked: dict[str, Asked] = {}
        self.blows: list[Blow] = []
        self.exit_codes: dict[str, int] = {}
        self._client = client
        self._scenario = scenario
        self._size = size
        self._seed = seed
        self._broker = broker
        self._ended: set[str] = set()
        self._waking: list[asyncio.Task[None]] = []

    # -- playing -------------------------------------------------------------------------------

    async def play(self, acts: list[Act]) -> None:
        """Start everything, strike while runs are asked for, and wait until all is quiet."""
        for role in self._scenario.programs:
            self._spawn(role)
        await asyncio.to_thread(self.services.wait_ready, *self.services.running)
        async with beside(self._watch_ends()):
            async with beside(self._ask_and_ask()):
                began_s = time.monotonic()
                for act in acts:
                    await asyncio.sleep(max(0.0, began_s + act.at_s - time.monotonic()))
                    await self._strike(act)
                await asyncio.gather(*self._waking)
                await asyncio.sleep(GO_ON_S)
            await self._quiet()
        self.exit_codes |= await asyncio.to_thread(self.services.stop_all)

    async def _strike(self, act: Act) -> None:
        blow = Blow(act.verb, act.victim, time.monotonic(), _now_ms(), pid=self._pid(act.victim))
        blow.until_s = blow.at_s
        self.blows.append(blow)
        probing = asyncio.create_task(self._probe(blow))
        await getattr(self, act.verb)(act, blow)
        await probing

    async def _quiet(self) -> None:
        """Wait until every run has ended and every step's end is committed, or for long enough."""
        try:
            await wait_until(
                lambda: self._ended >= self.asked.keys(), timeout_s=ENDED_WITHIN_S, message="ends"
            )
            await wait_until(self._all_committed, timeout_s=ENDED_WITHIN_S, message="commits")
        except AssertionError:
            return  # the audit says what is missing

    async def _all_committed(self) -> bool:
        for name in AGENTS:
            records = await records_in(self.services, [self.services.topics.steps(name)])
            if await steps_committed(self.services, name) < len(records):
                return False
        return True

    # -- asking --------------------------------------------------------------------------------

    async def _ask_and_ask(self) -> None:
        rng = dice(self._seed, f"{self._scenario.name}/load")
        for number in itertools.count():
            await self._ask(workload.run(rng, f"run-{number}"))
            await asyncio.sleep(self._size.pace_s)

    async def _ask(self, asked: Asked) -> None:
        """Ask until Kafka has it; the same run id again is the same run."""
        self.asked[asked.run_id] = asked
        while True:
            try:
                await self._client.submit_request(asked.request)
            except (StarlingsError, OSError, TimeoutError):
                await asyncio.sleep(ASK_AGAIN_S)
            else:
                return

    async def _probe(self, blow: Blow) -> None:
        number = len(self.blows)
        names: dict[int, str] = {}
        tries = 0
        while len(names) < PARTITIONS:
            name = f"probe-{number}-{tries}"
            names.setdefault(self._client.partition_of(name), name)
            tries += 1
        blow.probes = tuple(names.values())
        await asyncio.gather(*(self._ask(workload.probe(name)) for name in names.values()))

    async def _watch_ends(self) -> None:
        follower = Follower(
            self._client.connection,
            self._client.codec,
            self._client.topics.events,
            from_start=True,
            where=lambda record: header(record.headers, "ce_type") == RunDone.CE_TYPE,
        )
        async with follower:
            async for received in follower:
                self._ended.add(received.message.run_id)

    # -- blows ---------------------------------------------------------------------------------

    async def kill(self, act: Act, blow: Blow) -> None:
        """End a process as a crash would."""
        await asyncio.to_thread(self.services.kill, self._name(act.victim))
        blow.until_s = time.monotonic() + FORGOTTEN_AFTER_S

    async def start(self, act: Act, blow: Blow) -> None:
        """Start a process again, or one more."""
        name = self._spawn(act.victim)
        await asyncio.to_thread(self.services.wait_ready, name)
        blow.until_s = time.monotonic()

    async def stop(self, act: Act, blow: Blow) -> None:
        """Ask a process to stop."""
        code = await asyncio.to_thread(self.services.stop, self._name(act.victim))
        self.exit_codes[f"{act.victim} at {act.at_s:g} s"] = code
        blow.until_s = time.monotonic()

    async def restart(self, act: Act, blow: Blow) -> None:
        """Ask a process to stop, and start it again."""
        await self.stop(act, blow)
        await self.start(act, blow)

    async def freeze(self, act: Act, blow: Blow) -> None:
        """Stop a process in the middle of whatever it does, and let it go on after a while."""
        os.kill(blow.pid or 0, signal.SIGSTOP)
        blow.until_s = blow.at_s + act.amount
        self._waking.append(asyncio.create_task(self._wake(blow)))

    async def _wake(self, blow: Blow) -> None:
        try:
            await asyncio.sleep(blow.until_s - time.monotonic())
        finally:
            os.kill(blow.pid or 0, signal.SIGCONT)
            blow.until_s = time.monotonic()

    async def kill_broker(self, act: Act, blow: Blow) -> None:
        """End the broker as a crash would, and start it again over its data after a while."""
        broker = self._own_broker()
        await asyncio.to_thread(broker.kill)
        await asyncio.sleep(act.amount)
        await asyncio.to_thread(broker.start)
        blow.until_s = time.monotonic() + SETTLED_AFTER_S

    async def freeze_broker(self, act: Act, blow: Blow) -> None:
        """Let connections stay open, and nobody answer."""
        broker = self._own_broker()
        broker.pause()
        try:
            await asyncio.sleep(act.amount)
        finally:
            broker.resume()
            blow.until_s = time.monotonic() + SETTLED_AFTER_S

    async def kill_at_word(self, act: Act, blow: Blow) -> None:
        """Start a coordinator, and kill it soon after it says how far its recovery is."""
        mark = len(self.services.log("coordinator"))
        name = self._spawn("coordinator")
        wait_for = SAID[act.victim]
        await asyncio.to_thread(
            wait_until_sync,
            lambda: wait_for in self.services.log(name)[mark:],
            timeout_s=ENDED_WITHIN_S,
            message=f"{name} says {wait_for!r}",
        )
        await asyncio.sleep(act.amount)
        await asyncio.to_thread(self.services.kill, name)
        blow.until_s = time.monotonic()

    async def skew(self, act: Act, blow: Blow) -> None:
        """Put a service's wall clock forward or back by so many seconds from the right time."""
        clock = self.services.folder / f"clock-{act.victim}"
        blow.until_s = blow.at_s
        clock.with_suffix(".new").write_text(str(act.amount))
        clock.with_suffix(".new").replace(clock)

    async def repeat(self, act: Act, blow: Blow) -> None:
        """Publish recorded messages again, byte for byte, in the partitions where they lie."""
        topics = self.services.topics
        named = {"requests": [topics.requests], "events": [topics.events]}
        names = named.get(act.victim) or [topics.steps(name) for name in AGENTS]
        records = await records_in(self.services, names)
        rng = dice(self._seed, f"{self._scenario.name}/{act}")
        chosen = rng.sample(records, min(len(records), int(act.amount)))
        async with bare_producer(self.services) as producer:
            for record in chosen:
                await producer.send(
                    record.topic,
                    record.value,
                    key=record.key,
                    headers=list(record.headers),
                    partition=record.partition,
                )
            await producer.flush()
        blow.until_s = time.monotonic()

    async def cancel(self, act: Act, blow: Blow) -> None:
        """Cancel some of the runs that go on."""
        rng = dice(self._seed, f"{self._scenario.name}/{act}")
        names = sorted(self.asked.keys() - self._ended)
        going_on = [name for name in names if name.startswith("run-")]
        for run_id in rng.sample(going_on, min(len(going_on), int(act.amount))):
            self.asked[run_id] = replace(self.asked[run_id], cancelled=True)
            await self._client.run(run_id).cancel("chaos")
        blow.until_s = blow.at_s

    async def crowd(self, act: Act, blow: Blow) -> None:
        """Ask for many long steps side by side."""
        width, pause_s = int(act.amount), self._size.crowd_pause_s
        asked = workload.crowd(f"crowd-{len(self.blows)}", width=width, pause_s=pause_s)
        await self._ask(asked)
        blow.until_s = blow.at_s

    # -- processes -----------------------------------------------------------------------------

    def _spawn(self, victim: str) -> str:
        role = victim.partition("-")[0]
        env = {}
        if role == "coordinator":
            env["STARLINGS_SESSION_TIMEOUT_S"] = str(self._size.session_s)
        if self._scenario.skewable:
            env |= {"PYTHONPATH": SKEWED, "CHAOS_CLOCK": f"clock-{role}"}
        if self._scenario.seated:
            env |= {"STARLINGS_STATIC_MEMBERSHIP": "true", "STARLINGS_INSTANCE": role}
        return self.services.spawn(AGENT if role == "agent" else role, env=env)

    def _name(self, victim: str) -> str:
        """Name a process as the starter of services does."""
        role, dash, number = victim.partition("-")
        return (AGENT if role == "agent" else role) + dash + number

    def _pid(self, victim: str) -> int | None:
        running = self.services.running.get(self._name(victim))
        return running.process.pid if running else None

    def _own_broker(self) -> LocalBroker:
        if self._broker is None:
            raise RuntimeError(f"scenario {self._scenario.name!r} needs a broker of its own")
        return self._broker


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
