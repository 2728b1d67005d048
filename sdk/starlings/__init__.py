"""Starlings: plans of AI agents, run as choreography on Kafka.

What authors of agents and clients use is importable from here. Names are imported when they are
first asked for: a coordinator that imports `starlings.messages` needs nothing that agents need.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .on_demand import imported_on_demand

if TYPE_CHECKING:
    from .agents import (
        Agent,
        Debate,
        Event,
        EventContext,
        JobAgent,
        JobStatus,
        Limit,
        ReAct,
        Ready,
        Reflection,
        Result,
        Sensor,
        StepContext,
        Strategy,
        Waiting,
    )
    from .client import Client
    from .llm import ModelChoice
    from .messages import (
        Compensation,
        ResourceExhausted,
        RetryPolicy,
        StepFailed,
        TransientError,
    )
    from .planning.manager import Manager
    from .testing import LocalChoreography, LocalRun

__all__ = [
    "Agent",
    "Client",
    "Compensation",
    "Debate",
    "Event",
    "EventContext",
    "JobAgent",
    "JobStatus",
    "Limit",
    "LocalChoreography",
    "LocalRun",
    "Manager",
    "ModelChoice",
    "ReAct",
    "Ready",
    "Reflection",
    "ResourceExhausted",
    "Result",
    "RetryPolicy",
    "Sensor",
    "StepContext",
    "StepFailed",
    "Strategy",
    "TransientError",
    "Waiting",
]

__getattr__ = imported_on_demand(
    __name__,
    {
        ".agents": (
            "Agent",
            "Debate",
            "Event",
            "EventContext",
            "JobAgent",
            "JobStatus",
            "Limit",
            "ReAct",
            "Ready",
            "Reflection",
            "Result",
            "Sensor",
            "StepContext",
            "Strategy",
            "Waiting",
        ),
        ".client": ("Client",),
        ".llm": ("ModelChoice",),
        ".messages": (
            "Compensation",
            "ResourceExhausted",
            "RetryPolicy",
            "StepFailed",
            "TransientError",
        ),
        ".planning.manager": ("Manager",),
        ".testing": ("LocalChoreography", "LocalRun"),
    },
)
