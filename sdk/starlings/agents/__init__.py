"""Agents: what authors declare, how a step is done, and the runtime that does steps on Kafka."""

from __future__ import annotations

from .agent import Agent
from .context import StepContext
from .event import Event
from .event_context import EventContext
from .jobs import JobAgent
from .limits import Limit
from .sensors import Sensor
from .status import JobStatus, Phase, Ready, Waiting
from .values import Result

__all__ = [
    "Agent",
    "Event",
    "EventContext",
    "JobAgent",
    "JobStatus",
    "Limit",
    "Phase",
    "Ready",
    "Result",
    "Sensor",
    "StepContext",
    "Waiting",
]
