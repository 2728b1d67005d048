"""From a request to a plan: ask the model, hold its answer against the living agents."""

from __future__ import annotations

from .choices import Routing, routing_problems, with_retries
from .planner import Planner
from .replanner import Replanner

__all__ = ["Planner", "Replanner", "Routing", "routing_problems", "with_retries"]
