"""What was used at a model's provider: told with results, summed by step and by run."""

from __future__ import annotations

from pydantic import Field

from .base import NANO, Model, is_none, is_zero

MOST_USD = 1e9


class Usage(Model):
    """What was used at a model's provider, in one call, a step or a run."""

    model: str | None = Field(default=None, description="the one that answered last")
    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = Field(
        default=None,
        ge=0,
        le=MOST_USD,
        exclude_if=is_none,
        description="in US dollars, to a billionth; left out where the price is not known",
    )
    unpriced_calls: int = Field(
        default=0,
        ge=0,
        exclude_if=is_zero,
        description="calls whose cost is not known, and not in cost_usd; left out where there are"
        " none",
    )

    def plus(self, other: Usage | None) -> Usage:
        """Sum both; a cost that is not known counts as nothing."""
        if other is None:
            return self
        costs = [cost for cost in (self.cost_usd, other.cost_usd) if cost is not None]
        return Usage(
            model=other.model or self.model,
            calls=self.calls + other.calls,
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            unpriced_calls=self.unpriced_calls + other.unpriced_calls,
            cost_usd=min(sum(round(c * NANO) for c in costs) / NANO, MOST_USD) if costs else None,
        )
