"""Tool-plan as a strategy: one answer of the model lists the calls, which are then made.

This is what an agent with tools does unless it is told otherwise; `starlings.agents.toolplan` has
the rules.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from starlings.agents.context import StepContext
from starlings.agents.model_port import Spent
from starlings.agents.strategy import Strategy
from starlings.agents.toolplan import run_tool_plan
from starlings.agents.values import Result
from starlings.messages import StepReady

if TYPE_CHECKING:
    from starlings.agents.agent import Agent


@dataclass(frozen=True, repr=False)
class ToolPlan(Strategy):
    """The model lists the calls at once: one question as a rule, and no turns to wait for."""

    calls_tools: ClassVar[bool] = True

    async def run(self, agent: Agent, ready: StepReady, ctx: StepContext) -> Result:
        """Let the model list the calls, and make them."""
        return await run_tool_plan(agent, ready, ctx, ctx.spent or Spent())
