"""Play one scenario, collect what is known of it, and audit that."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from pathlib import Path

from starlings.broker import LocalBroker
from starlings.messages import StarlingsError, Topics
from support.services import running_services

from .audit import audit
from .evidence import Evidence, read_journal, read_log
from .figures import Figures, figures
from .findings import Finding
from .schedules import Act, Scenario, Size, dice
from .stage import Stage

DUMP = "log.jsonl"
CLAIMED_AFTER_S = 1.5  # what runs for over a second is claimed, once Kafka has the claim


@dataclass(frozen=True)
class Verdict:
    """What came of one scenario."""

    scenario: Scenario
    seed: int
    folder: Path
    figures: Figures
    findings: list[Finding]
    took_s: float

    def report(self) -> str:
        """Say what is wrong, where to look, and how to see it again."""
        return "\n".join(
            [
                f"{self.scenario.name}: {len(self.findings)} findings",
                *(f"  {finding}" for finding in self.findings),
                f"  the log as it was, and what the processes said: {self.folder}",
                f'  again: make chaos SEED={self.seed} ARGS="--only {self.scenario.name}"',
            ]
        )


async def play(
    scenario: Scenario,
    *,
    seed: int,
    size: Size,
    bootstrap: str,
    folder: Path,
    broker: LocalBroker | None = None,
) -> Verdict:
    """Play a scenario under a topic prefix of its own."""
    began_s = time.monotonic()
    topics = Topics(f"{scenario.name}-{uuid.uuid4().hex[:8]}.")
    async with running_services(bootstrap, topics, folder) as services:
        async with services.client() as client:
            stage = Stage(services, client, scenario=scenario, size=size, seed=seed, broker=broker)
            broken = await _act(stage, scenario.schedule(dice(seed, scenario.name), size))
        evidence = Evidence(
            stage.asked,
            executions=read_journal(folder),
            blows=stage.blows,
            exit_codes=stage.exit_codes,
            claimed_after_s=CLAIMED_AFTER_S,
        )
        await read_log(services, evidence)
    evidence.dump(folder / DUMP)
    findings = broken + audit(evidence)
    counted = figures(scenario.name, evidence, findings)
    return Verdict(scenario, seed, folder, counted, findings, time.monotonic() - began_s)


async def _act(stage: Stage, acts: list[Act]) -> list[Finding]:
    """Play; what cannot be played to its end is a finding, and the rest is audited all the same."""
    try:
        await stage.play(acts)
    except (AssertionError, OSError, RuntimeError, StarlingsError) as error:
        return [Finding("played to its end", "", f"{type(error).__name__}: {error}")]
    return []
