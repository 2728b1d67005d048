"""Agents: what authors declare, how a step is done, and the runtime that does steps on Kafka.

The strategies are loaded when they are first named: most agents do without.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlings.on_demand import imported_on_demand

from .agent import Agent
from .context import StepContext
from .event import Event
from .event_context import EventContext
from .jobs import JobAgent
from .limits import Limit
from .sensors import Sensor
from .status import JobStatus, Phase, Ready, Waiting
from .strategy import Strategy
from .values import Result

if TYPE_CHECKING:
    from .strategies import Debate, ReAct, Reflection, Review, ToolPlan

__all__ = [
    "Agent",
    "Debate",
    "Event",
    "EventContext",
    "JobAgent",
    "JobStatus",
    "Limit",
    "Phase",
    "ReAct",
    "Ready",
    "Reflection",
    "Result",
    "Review",
    "Sensor",
    "StepContext",
    "Strategy",
    "ToolPlan",
    "Waiting",
]

__getattr__ = imported_on_demand(
    __name__, {".strategies": ("Debate", "ReAct", "Reflection", "Review", "ToolPlan")}
)
