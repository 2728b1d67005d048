"""Agents: what authors declare, how a step is done, and the runtime that does steps on Kafka.

The strategies are loaded when they are first named: most agents do without.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

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

_STRATEGIES = frozenset({"Debate", "ReAct", "Reflection", "Review", "ToolPlan"})


def __getattr__(name: str) -> Any:
    if name not in _STRATEGIES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.strategies"), name)
    globals()[name] = value
    return value
