"""Manager and workers (orchestrator-workers): a model splits a step's task among other agents.

Rules:
- The model plans as for a request, and its plan is checked as one: known workers, no cycle, no more
  steps than allowed. What is wrong with it is shown to the model.
- The steps are added to the run with the manager's result, so once or not at all. What depends on
  the manager's step waits for them, and gets their results (`Amendment.join`).
- The workers see what the manager sees: the results of the steps that it depends on.
- Steps get the manager's id before their own, `<manager>:s1`, so that they are nobody else's.
- The answer is kept: an attempt that is started again pays for no token twice.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from starlings.agents.agent import Agent
from starlings.agents.context import StepContext
from starlings.agents.strategy import Strategy, whole_number
from starlings.agents.values import Result, clean_text
from starlings.choreography.context import render_task, shorten
from starlings.llm.chat import DATA_RULE, system, user
from starlings.llm.prompts import PLANNER_ROLE, request_line, task_lines
from starlings.messages import (
    AgentDefined,
    Amendment,
    ConfigError,
    ForEach,
    Step,
    StepFailed,
    StepReady,
)

from .prompt import PROMPT, plan_schema, planner_rules
from .proposal import Proposal, as_proposal

_MOST = 20
_COMBINE = "Put the results together into one answer to this task: {task}"
_ID_CHARS = 128


@dataclass(frozen=True, repr=False)
class Manager(Strategy):
    """An agent that has its work done by others.

    The output is `{"steps": [{"id", "agent", "task"}]}`: what was handed out.

    Args:
        workers: who can be given work: agents, or definitions of agents that live elsewhere.
        most: steps at the most.
        combine: who puts the results together, in a step behind all others; None: nobody, and what
            depends on the manager gets the results as they are.
        combine_task: what that step is told; `{task}` stands for the manager's own task.
    """

    workers: Sequence[Agent | AgentDefined] = field(default_factory=tuple)
    most: int = _MOST
    combine: Agent | AgentDefined | None = None
    combine_task: str = _COMBINE

    def __post_init__(self) -> None:
        whole_number(self.most, "Manager(most=…)")
        if not self.workers:
            raise ConfigError("Manager(workers=…) needs an agent at least, to be given work")
        for worker in (*self.workers, *([self.combine] if self.combine is not None else [])):
            if not isinstance(worker, Agent | AgentDefined):
                raise ConfigError(
                    f"Manager(workers=…) takes agents, not {worker!r}; for one that lives "
                    'elsewhere, say AgentDefined(agent="name", description="…")'
                )

    async def run(self, agent: Agent, ready: StepReady, ctx: StepContext) -> Result:
        """Split the task, and have its parts added to the run.

        Raises:
            StepFailed: `cannot` (the model's own word), `no_model`, `model_…`, `input_invalid`.
            TransientError: the model may work later.
        """
        if not ready.task.strip():
            raise StepFailed("say in `task` what to have done", code="input_invalid")
        workers = {defined.agent: defined for defined in map(_defined, self.workers)}
        if agent.name in workers:
            raise StepFailed(
                f"agent {agent.name!r} is its own worker, which could go on without an end; take "
                "it out of Manager(workers=…)",
                code="config",
            )
        proposal = Proposal(workers, set(workers))
        await self._ask(agent, ready, ctx, workers, proposal)
        if proposal.plan is None:
            why = clean_text(proposal.cannot or "it gave no reason")
            raise StepFailed(f"agent {agent.name!r} cannot have this done: {why}", code="cannot")
        return self._handed_out(proposal.plan.steps, ready)

    async def _ask(
        self,
        agent: Agent,
        ready: StepReady,
        ctx: StepContext,
        workers: dict[str, AgentDefined],
        proposal: Proposal,
    ) -> None:
        """Ask for a plan; `proposal` has read it then, also where it was kept."""

        def problems(value: Any) -> list[str]:
            found = proposal.read(value)
            count = len(proposal.plan.steps) if proposal.plan else 0
            if count > self.most:
                return [f"there are {count} steps, and the limit is {self.most}; use fewer"]
            return found

        value = await ctx.model.structured(
            self._messages(agent, ready, list(workers.values())),
            plan_schema(list(workers)),
            name="plan",
            validate=problems,
            adapt=as_proposal,
            key="manager",
            label=PROMPT.label,
        )
        proposal.read(value)

    def _messages(
        self, agent: Agent, ready: StepReady, workers: list[AgentDefined]
    ) -> list[dict[str, Any]]:
        bounds = (
            f"There may be {self.most} steps at the most. Each step sees the results below, too, "
            f"but not the input: say in its task what it needs of that.\n{DATA_RULE}"
        )
        rules = [
            f"{PLANNER_ROLE}\n\n{planner_rules(workers)}",
            f"You plan for the agent {agent.name!r}: {agent.description}",
            bounds,
            agent.instructions,
        ]
        given = task_lines("", ready.input).partition("\n")[2] if ready.input is not None else ""
        asked = request_line(ready.task) + (f"\n{given}" if given else "")
        return [
            system("\n\n".join(part for part in rules if part)),
            user(render_task(ready.model_copy(update={"task": asked}))),
        ]

    def _handed_out(self, steps: list[Step], ready: StepReady) -> Result:
        prefix = ready.step_id if ready.attempt == 1 else f"{ready.step_id}:{ready.attempt}"
        if len(prefix) + max(len(step.id) for step in steps) + 1 > _ID_CHARS:
            raise StepFailed(
                f"steps below {prefix!r} would have ids of more than {_ID_CHARS} characters; "
                "managers whose workers are managers may go on without an end",
                code="too_deep",
            )
        names = [step.id for step in steps]
        seen = [each.step_id for each in ready.context if not (each.skipped or each.error)]
        work = [_below(step, prefix, names, seen) for step in steps]
        if self.combine is not None:
            work.append(self._combining(work, prefix, ready.task))
        hands = ", ".join(dict.fromkeys(step.agent for step in work))
        handed = [{"id": step.id, "agent": step.agent, "task": step.task} for step in work]
        count = "1 step" if len(work) == 1 else f"{len(work)} steps"
        amendment = Amendment(add=work, reason=f"handed out by {ready.agent}")
        return Result(
            {"steps": handed}, summary=shorten(f"{count} for {hands}"), amend=amendment, undo=False
        )

    def _combining(self, work: list[Step], prefix: str, task: str) -> Step:
        if self.combine is None:
            raise RuntimeError("nobody puts the results together")
        return Step(
            id=f"{prefix}:join",
            agent=_defined(self.combine).agent,
            task=self.combine_task.replace("{task}", task),
            depends_on=[step.id for step in work],
        )


def _defined(worker: Agent | AgentDefined) -> AgentDefined:
    return worker.definition() if isinstance(worker, Agent) else worker


def _below(step: Step, prefix: str, names: Sequence[str], seen: Sequence[str]) -> Step:
    """Put the manager's id before the step's own, and before those that it speaks of."""
    known = {name: f"{prefix}:{name}" for name in names}
    words = re.compile(rf"(?<![\w:-])({'|'.join(map(re.escape, step.depends_on))})(?![\w:-])")

    def renamed(text: str) -> str:
        return words.sub(lambda found: known[found[1]], text) if step.depends_on else text

    changes: dict[str, Any] = {"id": known[step.id], "task": renamed(step.task)}
    changes["depends_on"] = [*(known[name] for name in step.depends_on), *seen]
    if step.when is not None and step.when.value is not None:
        changes["when"] = step.when.model_copy(update={"value": renamed(step.when.value)})
    if step.foreach is not None and isinstance(step.foreach.items, str):
        changes["foreach"] = ForEach(items=renamed(step.foreach.items))
    return step.model_copy(update=changes)
