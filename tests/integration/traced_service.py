"""A service that does one piece of work and ends; its test looks at what it exports of that.

It prints which `traceparent` it hands on, and whether it has imported OpenTelemetry.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from pydantic import Field

from starlings.messages import StepFailed
from starlings.service import ServiceContext, ServiceSettings, run_service
from starlings.telemetry import inner_span


class TracedSettings(ServiceSettings):
    """What its test tells it."""

    parent: str = Field(default="", description="a traceparent, or none")
    fails: bool = Field(default=False, description="whether the work fails")
    spans: int = Field(default=1, description="how often the work is done")


async def main(ctx: ServiceContext[TracedSettings]) -> None:
    """Work."""
    settings = ctx.settings
    for number in range(settings.spans):
        with (
            ctx.tracer.span(
                "work", parent=settings.parent or None, seed="same", attributes={"number": number}
            ) as span,
            suppress(StepFailed),
        ):
            _work(fails=settings.fails)
    print(span.traceparent, "opentelemetry" in sys.modules, flush=True)  # noqa: T201


def _work(*, fails: bool) -> None:
    with inner_span("part", attributes={"left_out": None, "told": True}):
        if fails:
            raise StepFailed("the room is sold out", code="sold_out")


if __name__ == "__main__":
    if os.environ.get("WITHOUT_EXTRA"):
        sys.modules["opentelemetry"] = None  # type: ignore[assignment] # as if it were not there
    sys.exit(run_service("traced", main, TracedSettings))
