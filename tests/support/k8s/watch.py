"""Replicas over time, beside the lag that they follow."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple

from support.beside import beside

from .load import Load
from .release import Release, now_s, replicas

EVERY_S = 0.5
SHOWN_EVERY_S = 5.0


class Sample(NamedTuple):
    """What was seen at one moment."""

    at_s: float
    lag: int
    wanted: int
    ready: int
    pods: int  # also those that are starting or ending


class Watch:
    """Looks at one agent again and again, until it is left."""

    def __init__(self, release: Release, load: Load, agent: str) -> None:
        self.samples: list[Sample] = []
        self._release = release
        self._load = load
        self._agent = agent

    def looking(self) -> AbstractAsyncContextManager[None]:
        """Look while a block goes on."""
        return beside(self._look_and_look())

    async def _look_and_look(self) -> None:
        began_s = now_s()
        while True:
            lag = await self._load.lag(self._agent)
            found = await asyncio.to_thread(self._release.deployment, f"agent-{self._agent}")
            wanted, ready = replicas(found)
            pods = found["status"].get("replicas", 0)
            self.samples.append(Sample(now_s() - began_s, lag, wanted, ready, pods))
            await asyncio.sleep(EVERY_S)

    @property
    def peak(self) -> int:
        """Tell how many instances were ready at most."""
        return max(sample.ready for sample in self.samples)

    def table(self) -> str:
        """Write a line for each change of replicas, and one every few seconds."""
        lines = [f"{'s':>6} {'lag':>6} {'wanted':>7} {'ready':>6}  {self._agent}"]
        shown: Sample | None = None
        for each in self.samples:
            changed = shown is None or (shown.wanted, shown.ready) != (each.wanted, each.ready)
            if changed or shown is None or each.at_s - shown.at_s >= SHOWN_EVERY_S:
                bar = "#" * each.ready
                row = f"{each.at_s:6.1f} {each.lag:6d} {each.wanted:7d} {each.ready:6d}  {bar}"
                lines.append(row.rstrip())
                shown = each
        return "\n".join(lines)
