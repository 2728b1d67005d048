"""The language model for a step function: the runtime's, else one of the step's own."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace

from starlings import StepContext
from starlings.agents.step_model import StepModel
from starlings.llm import LlmSettings, ModelClient
from starlings.service.settings import load_settings


@asynccontextmanager
async def asking(ctx: StepContext) -> AsyncGenerator[StepModel]:
    """Have a model for as long as the block lasts."""
    if ctx.model_port is not None:
        yield ctx.model
        return
    async with ModelClient(load_settings(LlmSettings)) as client:
        yield replace(ctx, model_port=client).model
