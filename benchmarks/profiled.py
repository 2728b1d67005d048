"""Run a service with a profile, where `BENCH_PROFILE` names a folder for it; else just run it.

A sampling profile: a timer of CPU time interrupts the process every millisecond and the stack is
noted. A tracing profiler would make short functions look several times as dear as they are. The
file has a line per stack, `outermost;…;innermost count`, as flame graph tools read it. A frame is
`module:function`.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType

EVERY_S = 0.001


class Sampler:
    """Counts the stacks that the process is found in."""

    def __init__(self) -> None:
        self.stacks: Counter[str] = Counter()

    def start(self) -> None:
        """Begin to take samples, in proportion to the CPU time that the process takes."""
        signal.signal(signal.SIGPROF, self._sample)
        signal.setitimer(signal.ITIMER_PROF, EVERY_S, EVERY_S)

    def stop(self, file: Path) -> None:
        """End, and write what was found."""
        signal.setitimer(signal.ITIMER_PROF, 0)
        lines = (f"{stack} {count}" for stack, count in self.stacks.most_common())
        file.write_text("\n".join(lines) + "\n")

    def _sample(self, _number: int, frame: FrameType | None) -> None:
        names: list[str] = []
        while frame is not None:
            names.append(f"{frame.f_globals.get('__name__')}:{frame.f_code.co_qualname}")
            frame = frame.f_back
        self.stacks[";".join(reversed(names))] += 1


def profiled(role: str, service: Callable[[], int]) -> int:
    """Run a service until it stops; give its exit code."""
    folder = os.environ.get("BENCH_PROFILE")
    if not folder:
        return service()
    sampler = Sampler()
    sampler.start()
    try:
        return service()
    finally:
        sampler.stop(Path(folder) / f"{role}.stacks")
