"""Turn the question how a run shall go on into an amendment of its plan, or into reasons why not.

The model sees the run as data: its steps, how far they are, the summaries of their results. What it
proposes is judged as the coordinator will judge it, and mended with the model a bounded number of
times. The coordinator judges it all the same: the run goes on meanwhile.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from starlings.choreography.context import as_text, shorten
from starlings.choreography.standing import standing_problems
from starlings.choreography.validation import check_plan
from starlings.llm.chat import DATA_RULE
from starlings.llm.client import ModelClient
from starlings.llm.errors import ModelFailed
from starlings.llm.prompt_file import packaged_prompt, stamp
from starlings.llm.prompts import REPLANNER_ROLE, agent_list, run_lines
from starlings.messages.amendments import Amendment
from starlings.messages.commands import REPLAN_LIMIT_CHARS
from starlings.messages.errors import Problem
from starlings.messages.plan import Plan, Step
from starlings.messages.registry import AgentDefined
from starlings.messages.replanning import AmendmentProposed, ReplanReady
from starlings.messages.usage import Usage

from .choices import with_retries
from .prompt import ITEM, plan_schema
from .proposal import item_problems, without_blanks

PROMPT = packaged_prompt("starlings.planning", "replanner")
SHOWN_STEPS = 500
_SHORT = 1_000


class Replanner:
    """Plans runs anew with one model client; any number at once."""

    def __init__(self, client: ModelClient) -> None:
        self._client = client

    async def replan(
        self, ready: ReplanReady, *, agents: Mapping[str, AgentDefined], alive: Collection[str]
    ) -> AmendmentProposed:
        """Propose how a run shall go on.

        Args:
            ready: the run as it stands, and why it is to be planned anew.
            agents: every known agent, by name.
            alive: names of the agents that have a living instance.

        Raises:
            TransientError: the model cannot be asked now.
        """
        usable = [a for n, a in sorted(agents.items()) if n in alive or a.scales_from_zero]
        proposal = _Proposal(ready, agents, alive)
        messages = replanner_messages(ready, usable)
        prompt = stamp(PROMPT.label, messages[0]["content"])
        try:
            answer = await self._client.structured(
                messages,
                amendment_schema([agent.agent for agent in usable]),
                name="amendment",
                validate=proposal.read,
            )
        except ModelFailed as failed:
            problem = Problem(code=failed.code, message=failed.what, remedy=failed.remedy)
            problems = [problem, *proposal.problems]
            return _proposed(ready, None, problems, failed.usage, prompt)
        problems = [] if proposal.amendment else [_cannot(proposal.cannot)]
        return _proposed(ready, proposal.amendment, problems, answer.usage, prompt)


def _proposed(
    ready: ReplanReady,
    amendment: Amendment | None,
    problems: list[Problem],
    usage: Usage | None,
    prompt: str,
) -> AmendmentProposed:
    return AmendmentProposed(
        run_id=ready.run_id,
        number=ready.number,
        amendment=amendment,
        problems=problems,
        model=usage.model if usage else None,
        usage=usage,
        prompt=prompt,
    )


def _cannot(reason: str) -> Problem:
    remedy = "ask for what the running agents can do, or start agents that can do it"
    return Problem(code="cannot_replan", message=reason, remedy=remedy)


def replanner_messages(ready: ReplanReady, agents: Sequence[AgentDefined]) -> list[dict[str, str]]:
    """Write the conversation that asks for an amendment."""
    system = (
        f"{REPLANNER_ROLE}\n\n{DATA_RULE}\n\n{PROMPT.filled(agents=agent_list(agents), item=ITEM)}"
    )
    return [
        {"role": "system", "content": system},
        {"role": "user", "content": run_lines(_told(ready), _wanted(ready))},
    ]


def _wanted(ready: ReplanReady) -> str:
    """Say what is wanted: in a person's words; what a step has to say is data."""
    if ready.step_id is None:
        return ready.text[:REPLAN_LIMIT_CHARS]
    return f'Change the plan because of what the step {ready.step_id} says in "why".'


def _told(ready: ReplanReady) -> dict[str, Any]:
    specs = {step.id: step for step in ready.plan.steps}
    return {
        "request": ready.request[:_SHORT],
        "asked_by": ready.step_id,
        "why": ready.text[:REPLAN_LIMIT_CHARS] if ready.step_id is not None else None,
        "steps": [
            {
                "id": step.step_id,
                "agent": step.agent,
                "task": specs[step.step_id].task[:_SHORT] if step.step_id in specs else "",
                "depends_on": specs[step.step_id].depends_on if step.step_id in specs else [],
                **(_flow(specs[step.step_id]) if step.step_id in specs else {}),
                "state": step.state,
                "summary": step.summary,
                "error": step.error.message[:_SHORT] if step.error else None,
            }
            for step in ready.steps[:SHOWN_STEPS]
        ],
    }


def _flow(step: Step) -> dict[str, str]:
    """Tell a step's condition and its list, where it has one."""
    told = {"when": step.when and str(step.when), "foreach": step.foreach and step.foreach.items}
    return {name: shorten(as_text(said), _SHORT) for name, said in told.items() if said is not None}


def amendment_schema(agents: Sequence[str]) -> dict[str, Any]:
    """Write the JSON Schema of the answer; closed, with every property required."""
    of_plan = plan_schema(agents)
    ids = {"type": "array", "items": {"type": "string"}}
    properties = {
        "steps": {**of_plan["properties"]["steps"], "description": "to add, or to replace by id"},
        "remove": ids,
        "again": {**ids, "description": "to be undone and done again"},
        "reason": {"type": "string"},
        "cannot": {**of_plan["properties"]["cannot"], "description": "null when there is a change"},
    }
    return {**of_plan, "properties": properties, "required": list(properties)}


class _Proposal:
    """What the model proposed last; of several proposals the latest counts."""

    def __init__(
        self, ready: ReplanReady, agents: Mapping[str, AgentDefined], alive: Collection[str]
    ) -> None:
        self._ready = ready
        self._agents = agents
        self._alive = alive
        self.amendment: Amendment | None = None
        self.cannot = ""
        self.problems: list[Problem] = []

    def read(self, value: Any) -> list[str]:
        """Take a proposal; returns what is wrong with it, for the model to mend."""
        self.amendment, self.cannot, self.problems = None, "", []
        reason = value.get("cannot")
        changes = [value.get(name) or [] for name in ("steps", "remove", "again")]
        if not any(changes):
            self.cannot = reason if isinstance(reason, str) and reason else "there is nothing to do"
            return []
        try:
            amendment = self._amendment(*changes, reason=value.get("reason"))
        except (ValidationError, TypeError, ValueError) as error:
            self.problems = [Problem(code="bad_amendment", message=str(error)[:_SHORT], remedy="")]
        else:
            self.problems = self._problems(amendment)
            self.amendment = None if self.problems else amendment
        return [str(problem) for problem in self.problems]

    def _amendment(self, steps: Any, remove: Any, again: Any, *, reason: Any) -> Amendment:
        there = {step.id: step for step in self._ready.plan.steps}
        written = map(Step.model_validate, without_blanks(steps))
        read = [self._with_choices(step, there) for step in written]
        plan = with_retries(Plan.model_construct(steps=read), self._agents, of_run=None)
        return Amendment(
            add=[step for step in plan.steps if step.id not in there],
            replace=[step for step in plan.steps if step.id in there],
            remove=remove,
            invalidate=again,
            reason=reason if isinstance(reason, str) else "",
        )

    def _with_choices(self, step: Step, there: Mapping[str, Step]) -> Step:
        """Keep what the plan says about a step beside what models are asked for."""
        before = there.get(step.id)
        if before is None:
            return step
        flow: dict[str, Any] = {
            "when": step.when or before.when,
            "foreach": step.foreach or before.foreach,
            "on_skipped": before.on_skipped,
        }
        if (step.agent, step.task) == (before.agent, before.task):
            return before.model_copy(update={"depends_on": step.depends_on, **flow})
        kept = {"on_failure": before.on_failure, "timeouts": before.timeouts, "retry": before.retry}
        return step.model_copy(update=kept | flow)

    def _problems(self, amendment: Amendment) -> list[Problem]:
        steps = [*amendment.add, *amendment.replace]
        names = {name for step in steps for name in (step.id, *step.depends_on)}
        unknown = (
            check_plan(Plan(steps=steps), agents=self._agents, alive=self._alive, known=names)
            if steps
            else []
        )
        wrong = [*unknown, *item_problems(steps)]
        return wrong or standing_problems(self._ready, amendment)
