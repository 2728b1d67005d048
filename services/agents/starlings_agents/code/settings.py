"""Settings of the agent `code`: limits, and where the code runs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from starlings_agents.own_settings import OwnSettings


class CodeSettings(OwnSettings):
    """What a program may use up, and what runs it."""

    model_config = SettingsConfigDict(env_prefix="STARLINGS_CODE_")

    backend: Literal["sandbox", "container"] = Field(
        default="sandbox",
        description="sandbox: an interpreter of its own without files, network and processes;"
        " container: CPython in a container without network",
    )
    seconds: float = Field(default=5.0, gt=0, le=3_600, description="limit of one run, in seconds")
    memory_mb: int = Field(default=64, ge=8, le=65_536, description="limit of one run's memory")
    printed_characters: int = Field(
        default=20_000, ge=0, le=1_000_000, description="how much of what it prints is kept"
    )
    result_bytes: int = Field(
        default=1_000_000, ge=100, le=50_000_000, description="limit of its result, as JSON"
    )
    turns: int = Field(
        default=4, ge=1, le=20, description="how often a model writes it, the first time included"
    )
    container_cli: str = Field(
        default="docker", min_length=1, description="docker, podman or the like"
    )
    container_image: str = Field(
        default="python:3.13-slim", min_length=1, description="image with `python` on its path"
    )
