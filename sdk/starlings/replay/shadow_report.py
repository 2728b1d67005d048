"""What a shadow has found: its comparisons, read back from its topic, and their sum."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from starlings.kafka.codec import Codec
from starlings.kafka.connection import Connection
from starlings.messages import SHADOW_HEADER, StarlingsError, StepDone, Usage, header

from .ranges import ranges_of
from .reading import LogReader
from .shadow_comparing import Comparison, Side, Verdict

GOOD = frozenset({Verdict.SAME, Verdict.SAME_MEANING})


@dataclass(frozen=True, slots=True)
class Row:
    """One step of the window."""

    name: str  # run/step/attempt
    comparison: Comparison
    done: StepDone | None = None  # what the candidate gave

    def document(self) -> dict[str, Any]:
        """Write it for programs."""
        run_id, _, rest = self.name.partition("/")
        step_id, _, attempt = rest.rpartition("/")
        said = self.comparison.model_dump(mode="json", exclude={"session"})
        output = self.done.output if self.done else None
        return {
            "run_id": run_id,
            "step_id": step_id,
            "attempt": int(attempt) if attempt.isdecimal() else None,
            **said,
            "output": output,
        }


@dataclass(frozen=True, slots=True)
class Sum:
    """What one side took in all; times are of the steps that both sides did well."""

    p50_s: float | None
    p95_s: float | None
    usage: Usage | None

    def document(self) -> dict[str, Any]:
        """Write it for programs."""
        usage = self.usage.model_dump(mode="json") if self.usage else None
        return {"p50_s": self.p50_s, "p95_s": self.p95_s, "usage": usage}


@dataclass(frozen=True, slots=True)
class Report:
    """All comparisons of a session of a shadow."""

    rows: tuple[Row, ...]

    @property
    def verdicts(self) -> dict[Verdict, int]:
        """Count the steps by verdict; all verdicts are there."""
        counted = Counter(row.comparison.verdict for row in self.rows)
        return {verdict: counted[verdict] for verdict in Verdict}

    @property
    def good(self) -> bool:
        """Whether something could be compared, and nothing was different or failed."""
        counts = self.verdicts
        bad = counts[Verdict.DIFFERENT] + counts[Verdict.FAILED]
        return bad == 0 and any(counts[verdict] for verdict in GOOD)

    @property
    def was(self) -> Sum:
        """Sum up the real attempts."""
        return self._sum(lambda comparison: comparison.was)

    @property
    def now(self) -> Sum:
        """Sum up the candidate's."""
        return self._sum(lambda comparison: comparison.now)

    @property
    def judged(self) -> Usage | None:
        """Sum up what the judge has used."""
        judgements = [row.comparison.judgement for row in self.rows]
        return _total([each.usage for each in judgements if each is not None])

    def _sum(self, side: Callable[[Comparison], Side]) -> Sum:
        compared = [
            row.comparison
            for row in self.rows
            if row.comparison.verdict is not Verdict.NOT_COMPARABLE
        ]
        times = sorted(
            side(each).duration_s
            for each in compared
            if each.was.code is None and each.now.code is None
        )
        usage = _total([side(each).usage for each in compared])
        return Sum(quantile(times, 0.5), quantile(times, 0.95), usage)


def quantile(ordered: Sequence[float], share: float) -> float | None:
    """Take the smallest value that at least this share of all does not exceed."""
    if not ordered:
        return None
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)]


def _total(usages: Sequence[Usage | None]) -> Usage | None:
    total: Usage | None = None
    for usage in usages:
        if usage is not None:
            total = usage if total is None else total.plus(usage)
    return total


async def read_report(connection: Connection, codec: Codec, topic: str, *, session: int) -> Report:
    """Read the comparisons of a session; of a step that was tried twice the last one counts."""
    rows: dict[str, Row] = {}
    ranges = await ranges_of(connection, [topic])
    async with aclosing(LogReader(connection, ranges).records()) as records:
        async for record in records:
            try:
                said = Comparison.model_validate_json(header(record.headers, SHADOW_HEADER) or "")
            except ValidationError:
                continue  # somebody else's
            if said.session != session:
                continue
            name = (header(record.headers, "ce_id") or "").partition("/shadow/")[0]
            try:
                received = await codec.decode(record)
            except StarlingsError:
                received = None
            done = received.message if received is not None else None
            rows[name] = Row(name, said, done if isinstance(done, StepDone) else None)
    return Report(tuple(rows.values()))
