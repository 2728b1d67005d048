"""Planning and running in this process: no broker, nothing that survives it.

The planner, the core and the agents are the very code that runs on Kafka. Where no model is
configured, the offline rules are asked.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence

from starlings.agents import Agent
from starlings.agents.loading import builtin_agents, load_agents
from starlings.agents.models import AgentModels
from starlings.kafka.codec import Received
from starlings.llm import LlmSettings, ModelClient
from starlings.llm.endpoint import configured_endpoint
from starlings.messages import (
    CancelRequested,
    ConfigError,
    Envelope,
    Message,
    Origin,
    PlanCreated,
    PlanRejected,
    RunDone,
    RunOutcome,
    RunRequested,
)
from starlings.planning import Planner
from starlings.service import load_settings
from starlings.testing import LocalRun

from .asking import TerminalAnswers
from .guard import complain
from .words import LOCAL


def agents_for(specs: Sequence[str]) -> list[Agent]:
    """Load the built-in agents and those of the given names; a name of one's own wins.

    Raises:
        ConfigError: one cannot be loaded, or there is none at all.
    """
    agents = {agent.name: agent for agent in builtin_agents()}
    agents |= {agent.name: agent for spec in specs for agent in load_agents(spec)}
    if not agents:
        raise ConfigError(
            "there is no agent: install starlings-agents, or name one with --agents module:agent"
        )
    return list(agents.values())


def announce_model() -> None:
    """Say so where no model is configured, and rules answer instead."""
    if configured_endpoint(load_settings(LlmSettings)) is None:
        complain(
            "no model is configured (OPENAI_API_KEY or OPENAI_BASE_URL): the offline rules answer, "
            "which know sums, texts and weather"
        )


async def plan_here(
    request: RunRequested, agents: Sequence[Agent], model: ModelClient, *, run_id: str = LOCAL
) -> PlanCreated | PlanRejected:
    """Plan a request with agents of this process, as the planner would."""
    known = {agent.name: agent.definition() for agent in agents}
    return await Planner(model).plan(request, run_id=run_id, agents=known, alive=set(known))


class LocalStory:
    """A run in this process, to be told like any other."""

    def __init__(self, request: RunRequested, agents: Sequence[Agent]) -> None:
        self.run_id = request.run_id or LOCAL
        self._request = request
        self._agents = agents
        self._facts: asyncio.Queue[Message] = asyncio.Queue()
        self._run: LocalRun | None = None
        self._answers = TerminalAnswers(self.tell)
        self._offset = 0

    async def records(self) -> AsyncGenerator[Received]:
        """Plan and run, and deliver the facts up to the run's end."""
        working = asyncio.create_task(self._work())
        try:
            while True:
                getting = asyncio.create_task(self._facts.get())
                await asyncio.wait({getting, working}, return_when=asyncio.FIRST_COMPLETED)
                if not getting.done():
                    getting.cancel()
                    working.result()
                    return
                fact = getting.result()
                yield self._received(fact)
                if isinstance(fact, RunDone):
                    return
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)

    async def _work(self) -> None:
        async with AgentModels() as models:
            planner = models.client("planner")
            outcome = await plan_here(self._request, self._agents, planner, run_id=self.run_id)
            if isinstance(outcome, PlanRejected):
                self._facts.put_nowait(outcome)
                self._facts.put_nowait(_rejected(outcome))
                return
            self._run = LocalRun(
                outcome.plan,
                self._agents,
                options=outcome.options,
                request=outcome.request,
                tags=outcome.tags,
                run_id=self.run_id,
                model=models,
                on_fact=self._heard,
            )
            try:
                await self._run.run()
            finally:
                self._answers.close()

    def _heard(self, fact: Message) -> None:
        self._facts.put_nowait(fact)
        self._answers.look(fact)

    def tell(self, fact: Message) -> None:
        """Put a command into the run."""
        if self._run is not None:
            self._run.tell(fact)

    async def cancel(self, reason: str = "") -> None:
        """Ask for the run to end now."""
        self.tell(CancelRequested(run_id=self.run_id, reason=reason))

    def _received(self, fact: Message) -> Received:
        self._offset += 1
        now_ms = int(time.time() * 1000)
        envelope = Envelope(
            id=f"{self.run_id}/{self._offset}",
            type=fact.CE_TYPE,
            source="starlings/local",
            subject=self.run_id,
            time_ms=now_ms,
        )
        origin = Origin(LOCAL, 0, self._offset - 1)
        return Received(origin, now_ms, self.run_id.encode(), envelope, fact)


def _rejected(outcome: PlanRejected) -> RunDone:
    return RunDone(
        run_id=outcome.run_id, outcome=RunOutcome.REJECTED, problems=list(outcome.problems)
    )
