"""The agent `sensor`: waits for a file, an HTTP answer, an event on Kafka, or the end of a run.

A step's `input` says what for, by `wait_for`; how each is looked at stands in a module of its own.
A wait ends with the step's `timeouts.run_s` (600 s unless the plan says more).
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from pydantic_settings import NoDecode, SettingsConfigDict

from starlings import Ready, Sensor, StepContext, StepFailed, Waiting
from starlings.service.settings import load_settings
from starlings_agents.own_settings import OwnSettings

from .sensor_events import EventArrives, RunEnds, poke_event, poke_run
from .sensor_files import FileExists, poke_file
from .sensor_http import HttpAnswers, poke_http

KINDS = "file,http,event,run"

agent = Sensor(
    "sensor",
    description="Waits until a file or object exists (local, S3, GCS, Azure), an HTTP address "
    "answers as wanted, an event arrives on a Kafka topic, or another run has ended",
    concurrency=16,
    poke_timeout_s=15.0,
)

Condition = Annotated[
    FileExists | HttpAnswers | EventArrives | RunEnds, Field(discriminator="wait_for")
]


class SensorSettings(OwnSettings):
    """What may be waited for."""

    model_config = SettingsConfigDict(env_prefix="STARLINGS_SENSOR_")

    kinds: Annotated[str, NoDecode] = Field(
        default=KINDS,
        pattern=r"^(file|http|event|run)(,(file|http|event|run))*$",
        description="what plans may wait for, of file, http, event and run",
    )


@agent.poke
async def poke(condition: Condition, ctx: StepContext) -> bool | Ready | Waiting:
    """Look once."""
    allowed = load_settings(SensorSettings).kinds.split(",")
    if condition.wait_for not in allowed:
        raise StepFailed(
            f"waiting for {condition.wait_for!r} is switched off here: STARLINGS_SENSOR_KINDS "
            f"allows {', '.join(allowed)}",
            code="not_allowed",
        )
    if isinstance(condition, FileExists):
        return await poke_file(condition)
    if isinstance(condition, HttpAnswers):
        return await poke_http(condition)
    if isinstance(condition, EventArrives):
        return await poke_event(condition, ctx.state)
    return await poke_run(condition, ctx.state)
