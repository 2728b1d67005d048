"""Work for the agents in the cluster, and the audit of what came of it.

The work and the rules are those of the chaos tests; the log is read from Kafka, and so is the
journal of what the agents did. Other runs of the same installation are left out.
"""

from __future__ import annotations

import asyncio
import itertools
import uuid
from contextlib import AbstractAsyncContextManager
from dataclasses import fields
from pathlib import Path

from starlings.client import Client
from starlings.kafka.admin import group_lag
from starlings.messages import RunDone
from support.asking import records_in, steps_committed
from support.beside import beside
from support.chaos import workload
from support.chaos.audit import audit
from support.chaos.evidence import Blow, Evidence, executions, read_log
from support.chaos.findings import Finding
from support.chaos.play import CLAIMED_AFTER_S, DUMP
from support.chaos.workload import AGENTS, Asked
from support.services import Services
from support.waiting import wait_until

from .release import now_s

PAUSE_S = 2.0  # long enough to be claimed: nothing excuses that such a step is done twice
EVERY_S = 0.5
ENDED_WITHIN_S = 120.0


class Load:
    """Asks for runs, knows what must come of them, and audits that."""

    def __init__(self, services: Services, client: Client, *, journal: str) -> None:
        self.asked: dict[str, Asked] = {}
        self.blows: list[Blow] = []
        self.evidence = Evidence({})
        self._services = services
        self._client = client
        self._journal = journal
        self.name = uuid.uuid4().hex[:8]

    async def crowd(self, width: int, *, pause_s: float = PAUSE_S) -> None:
        """Ask for so many steps of `north` side by side."""
        await self._ask(workload.crowd(self._next(), width=width, pause_s=pause_s))

    def going_on(self, *, width: int = 2) -> AbstractAsyncContextManager[None]:
        """Ask for runs all the time while a block goes on."""
        return beside(self._ask_and_ask(width))

    async def more_asked(self, count: int) -> None:
        """Wait until so many runs more have been asked for."""
        enough = len(self.asked) + count
        await wait_until(
            lambda: len(self.asked) >= enough, timeout_s=ENDED_WITHIN_S, message="more is asked for"
        )

    async def _ask_and_ask(self, width: int) -> None:
        for number in itertools.count():
            asked = workload.probe(self._next())
            await (self._ask(asked) if number % 2 else self.crowd(width))
            await asyncio.sleep(EVERY_S)

    def _next(self) -> str:
        return f"k8s-{self.name}-{len(self.asked)}"

    async def _ask(self, asked: Asked) -> None:
        self.asked[asked.run_id] = asked
        await self._client.submit_request(asked.request)

    def blow(self, kind: str, victim: str, *, pid: int | None = None) -> Blow:
        """Write down that something is done to the system now."""
        at_s = now_s()
        struck = Blow(kind, victim, at_s, int(at_s * 1000), until_s=at_s, pid=pid)
        self.blows.append(struck)
        return struck

    async def lag(self, agent: str) -> int:
        """Count the records that an agent's group is behind, as an autoscaler does."""
        topics = self._services.topics
        group, topic = topics.agent_group(agent), topics.steps(agent)
        return sum((await group_lag(self._services.connection(), group, [topic])).values())

    async def settled(self, *, timeout_s: float = ENDED_WITHIN_S) -> None:
        """Wait until every run has ended and what was done is committed."""
        for run_id in self.asked:
            await self._client.run(run_id).result(timeout_s=timeout_s)
        await wait_until(self._all_committed, timeout_s=timeout_s, message="all is committed")

    async def _all_committed(self) -> bool:
        for name in AGENTS:
            records = await records_in(self._services, [self._services.topics.steps(name)])
            if await steps_committed(self._services, name) < len(records):
                return False
        return True

    async def audit(self, folder: Path) -> list[Finding]:
        """Read the log and the journal, and apply every rule of the chaos tests."""
        evidence = Evidence(self.asked, blows=self.blows, claimed_after_s=CLAIMED_AFTER_S)
        await read_log(self._services, evidence)
        lines = await records_in(self._services, [self._journal])
        evidence.executions = executions(record.value for record in lines)
        _keep_only(evidence)
        evidence.dump(folder / DUMP)
        self.evidence = evidence
        return audit(evidence)

    def figures(self) -> str:
        """Say what was counted, after an audit."""
        again = len(self.evidence.executions) - len({e.what for e in self.evidence.executions})
        results = self.evidence.results()
        lost = len(self.evidence.releases().keys() - results.keys())
        ends = len(self.evidence.of(RunDone))
        return (
            f"{len(self.asked)} runs, {ends} ends, {len(results)} steps with a result, "
            f"{lost} lost, {again} begun again"
        )


def _keep_only(evidence: Evidence) -> None:
    """Leave out what other runs have written."""
    for each in fields(evidence):
        rows = getattr(evidence, each.name)
        if each.name in ("requests", "events", "steps", "control", "executions"):
            setattr(evidence, each.name, [row for row in rows if row.run_id in evidence.asked])
