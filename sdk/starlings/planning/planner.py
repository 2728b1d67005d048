"""Turn a request into `plan_created` or `plan_rejected`.

What passes after a while is raised as `TransientError`, for the caller to try again; what is wrong
for good becomes a `plan_rejected` that says what to do. A request that brings its own plan costs no
model call, and is validated all the same.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from starlings.choreography.validation import check_plan, parse_plan
from starlings.llm.client import Answer, ModelClient
from starlings.llm.errors import ModelFailed
from starlings.llm.prompt_file import stamp
from starlings.messages.errors import PlanInvalid, Problem
from starlings.messages.facts import PlanCreated, PlanRejected
from starlings.messages.plan import Plan, RunOptions
from starlings.messages.registry import AgentDefined
from starlings.messages.requests import RunRequested
from starlings.messages.usage import Usage

from .choices import Routing, routing_problems, with_choices
from .prompt import PROMPT, plan_schema, planner_messages
from .proposal import Proposal, as_proposal

REQUEST_LIMIT_CHARS = 200_000


class Planner:
    """Plans requests with one model client; any number at once.

    `routing` are shares of variants by agent, for runs whose request names none for it.
    """

    def __init__(self, client: ModelClient, *, routing: Routing | None = None) -> None:
        self._client = client
        self._routing = routing or {}

    async def plan(
        self,
        request: RunRequested,
        *,
        run_id: str,
        agents: Mapping[str, AgentDefined],
        alive: Collection[str],
    ) -> PlanCreated | PlanRejected:
        """Make the plan of one run.

        Args:
            request: what is asked for, in words or as a plan.
            run_id: the run that the plan is for.
            agents: every known agent, by name.
            alive: names of the agents that have a living instance.

        Raises:
            TransientError: the model cannot be asked now.
        """
        if problems := list(routing_problems(request.routing or {})):
            return _rejected(request, run_id, problems)
        outcome = await self._plan(request, run_id, agents, alive)
        if isinstance(outcome, PlanRejected):
            return outcome
        return with_choices(outcome, request, agents=agents, routing=self._routing)

    async def _plan(
        self,
        request: RunRequested,
        run_id: str,
        agents: Mapping[str, AgentDefined],
        alive: Collection[str],
    ) -> PlanCreated | PlanRejected:
        if request.plan is not None:
            return _check_given(request, request.plan, run_id, agents, alive)
        problems = _problems_before_asking(request, request.options())
        usable = [a for n, a in sorted(agents.items()) if n in alive or a.scales_from_zero]
        if not problems and not usable:
            problems = [_no_agents(agents)]
        if problems:
            return _rejected(request, run_id, problems)
        return await self._ask(request, run_id, usable, Proposal(agents, alive))

    async def _ask(
        self,
        request: RunRequested,
        run_id: str,
        usable: Sequence[AgentDefined],
        proposal: Proposal,
    ) -> PlanCreated | PlanRejected:
        messages = planner_messages(request.request, usable)
        prompt = stamp(PROMPT.label, messages[0]["content"])
        outcome = await self._answer(request, run_id, messages, usable, proposal)
        return outcome.model_copy(update={"prompt": prompt})

    async def _answer(
        self,
        request: RunRequested,
        run_id: str,
        messages: list[dict[str, str]],
        usable: Sequence[AgentDefined],
        proposal: Proposal,
    ) -> PlanCreated | PlanRejected:
        try:
            answer = await self._client.structured(
                messages,
                plan_schema([agent.agent for agent in usable]),
                name="plan",
                validate=proposal.read,
                adapt=as_proposal,
            )
        except ModelFailed as failed:
            problems = [_problem_of(failed), *proposal.problems]
            return _rejected(request, run_id, problems, failed.usage)
        if proposal.plan is None:
            return _rejected(request, run_id, [_cannot(proposal, answer)], answer.usage)
        return _created(request, run_id, proposal.plan, answer.usage)


def _check_given(
    request: RunRequested,
    plan: Any,
    run_id: str,
    agents: Mapping[str, AgentDefined],
    alive: Collection[str],
) -> PlanCreated | PlanRejected:
    """Check a plan that came with the request, its size included."""
    try:
        checked = parse_plan(plan, agents=agents, alive=alive, options=request.options())
    except PlanInvalid as invalid:
        return _rejected(request, run_id, invalid.problems)
    return _created(request, run_id, checked)


def _problems_before_asking(request: RunRequested, options: RunOptions) -> list[Problem]:
    """Find what no model could mend, before one is paid to try."""
    problems = [p for p in check_plan(Plan(steps=[]), options=options) if p.code != "no_steps"]
    if not request.request.strip():
        problems.append(
            Problem(
                code="empty_request",
                field="request",
                message="the request is empty",
                remedy="say in words what shall be done, or give a plan",
            )
        )
    elif len(request.request) > REQUEST_LIMIT_CHARS:
        problems.append(
            Problem(
                code="request_too_large",
                field="request",
                message=f"the request has {len(request.request):,} characters; a model is asked "
                f"with {REQUEST_LIMIT_CHARS:,} at most",
                remedy="say it in fewer words, or give a plan whose steps carry the data as input",
            )
        )
    return problems


def _no_agents(agents: Mapping[str, AgentDefined]) -> Problem:
    known = f" (known, but not running: {', '.join(sorted(agents))})" if agents else ""
    return Problem(
        code="no_agents",
        message=f"no agent is running{known}",
        remedy="start one, for instance with `starlings agent run module:agent`",
    )


def _cannot(proposal: Proposal, answer: Answer) -> Problem:
    return Problem(
        code="cannot_plan",
        message=proposal.cannot or f"{answer.model} gave no reason",
        remedy="ask for what the running agents can do, or start agents that can do it",
    )


def _problem_of(failed: ModelFailed) -> Problem:
    return Problem(code=failed.code, message=failed.what, remedy=failed.remedy)


def _created(
    request: RunRequested, run_id: str, plan: Plan, usage: Usage | None = None
) -> PlanCreated:
    return PlanCreated(
        run_id=run_id,
        request=request.request,
        plan=plan,
        options=request.options(),
        tags=request.tags,
        model=usage.model if usage else None,
        usage=usage,
    )


def _rejected(
    request: RunRequested, run_id: str, problems: list[Problem], usage: Usage | None = None
) -> PlanRejected:
    return PlanRejected(
        run_id=run_id,
        request=request.request,
        problems=problems,
        tags=request.tags,
        model=usage.model if usage else None,
        usage=usage,
    )
