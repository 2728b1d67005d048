"""Running agents in one process, without a broker: for tests, notebooks and first tries."""

from __future__ import annotations

from .local_choreography import LocalChain, LocalChoreography
from .local_run import LocalRun

__all__ = ["LocalChain", "LocalChoreography", "LocalRun"]
