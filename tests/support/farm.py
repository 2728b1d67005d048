"""A system that runs jobs, for job agents in this process, and what a stage saw of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from aiokafka import TopicPartition

from starlings import JobAgent, JobStatus, StepContext
from starlings.messages import (
    StepDone,
)
from support.waiting import wait_until


@dataclass
class Farm:
    """A system that runs jobs; they go on until they are told an end."""

    created: list[str] = field(default_factory=list)
    asked: Counter[str] = field(default_factory=Counter)
    deleted: list[str] = field(default_factory=list)
    undone: list[Any] = field(default_factory=list)
    ends: dict[str, JobStatus] = field(default_factory=dict)
    refuse_to_delete: int = 0
    settings: dict[str, Any] = field(default_factory=dict)

    def agent(self) -> JobAgent[str]:
        defaults = {"first_poll_s": 0.02, "longest_poll_s": 0.05}
        agent = JobAgent[str]("farm", description="Farms", **{**defaults, **self.settings})
        agent.create(self.create)
        agent.get(self.get)
        agent.delete(self.delete)
        agent.compensate(self.scrap)
        return agent

    async def create(self, ctx: StepContext) -> str:
        self.created.append(ctx.idempotency_key)
        return ctx.idempotency_key

    async def get(self, job: str) -> JobStatus:
        self.asked[job] += 1
        return self.ends.get(job, JobStatus.running())

    async def delete(self, job: str) -> None:
        self.deleted.append(job)
        if len(self.deleted) <= self.refuse_to_delete:
            raise OSError("no route to the farm")

    async def scrap(self, output: Any) -> None:
        self.undone.append(output)

    async def looked_at(self, job: str = "r1/s1/1", more: int = 2) -> None:
        """Wait until a job has been looked at some times more."""
        begun = self.asked[job]
        await wait_until(
            lambda: self.asked[job] >= begun + more, timeout_s=30, message=f"{job} is looked at"
        )


async def committed(stage) -> int:
    place = TopicPartition(stage.site.topics.steps(stage.agent.name), 0)
    group = stage.site.topics.agent_group(stage.agent.name)
    commits = await stage.site.connection.committed(group, [place])
    return commits[place].offset if place in commits else 0


def ends(stage, kind=StepDone) -> list[Any]:
    return [fact.message for fact in stage.facts if isinstance(fact.message, kind)]
