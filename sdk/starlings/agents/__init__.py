"""Agents: what authors declare, how a step is done, and the runtime that does steps on Kafka."""

from __future__ import annotations

from .agent import Agent
from .context import StepContext
from .values import Result

__all__ = ["Agent", "Result", "StepContext"]
