"""Starlings: plans of AI agents, run as choreography on Kafka.

What authors of agents and clients use is importable from here. Names are imported when they are
first asked for: a coordinator that imports `starlings.messages` needs nothing that agents need.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

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

_HOMES = {
    "Agent": ".agents",
    "Client": ".client",
    "Compensation": ".messages",
    "Debate": ".agents",
    "JobAgent": ".agents",
    "JobStatus": ".agents",
    "Event": ".agents",
    "EventContext": ".agents",
    "Limit": ".agents",
    "LocalChoreography": ".testing",
    "LocalRun": ".testing",
    "Manager": ".planning.manager",
    "ModelChoice": ".llm",
    "ReAct": ".agents",
    "Ready": ".agents",
    "Reflection": ".agents",
    "ResourceExhausted": ".messages",
    "Result": ".agents",
    "RetryPolicy": ".messages",
    "Sensor": ".agents",
    "StepContext": ".agents",
    "StepFailed": ".messages",
    "Strategy": ".agents",
    "TransientError": ".messages",
    "Waiting": ".agents",
}

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


def __getattr__(name: str) -> Any:
    """Import a public name from where it lives (PEP 562)."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(home, __name__), name)
    globals()[name] = value
    return value
