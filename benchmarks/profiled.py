"""Run a service with a profile, where `BENCH_PROFILE` names a folder for it; else just run it."""

from __future__ import annotations

import cProfile
import os
import time
from collections.abc import Callable
from pathlib import Path


def profiled(role: str, service: Callable[[], int]) -> int:
    """Run a service until it stops; give its exit code."""
    folder = os.environ.get("BENCH_PROFILE")
    if not folder:
        return service()
    profile = cProfile.Profile(time.thread_time)
    try:
        return profile.runcall(service)
    finally:
        profile.dump_stats(Path(folder) / f"{role}.prof")
