"""What the container agent may run, where, and with how much."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import Literal

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from starlings import StepFailed
from starlings_agents.own_settings import OwnSettings

SECRET_PREFIX = "STARLINGS_CONTAINER_SECRET_"  # noqa: S105 - the name of settings, not a secret
_MEMORY = re.compile(r"^([1-9][0-9]{0,15})(Ki|Mi|Gi|Ti|)$")
_UNITS = {"": 1, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40}


class ContainerSettings(OwnSettings):
    """As `STARLINGS_CONTAINER_<NAME>`."""

    model_config = SettingsConfigDict(env_prefix="STARLINGS_CONTAINER_")

    backend: Literal["docker", "kubernetes"] = Field(
        default="docker", description="docker or kubernetes"
    )
    images: str = Field(
        default="",
        description="the images that plans may run, as patterns separated by commas, such as "
        "registry.example.org/jobs/*",
    )
    cpus: float = Field(
        default=1.0, gt=0, le=1_024, description="processors of a container, unless a step says"
    )
    memory: str = Field(
        default="512Mi", pattern=_MEMORY.pattern, description="its memory, such as 512Mi or 2Gi"
    )
    max_cpus: float = Field(default=4.0, gt=0, le=1_024, description="the most that a step may say")
    max_memory: str = Field(
        default="4Gi", pattern=_MEMORY.pattern, description="the most that a step may say"
    )
    keep_s: int = Field(
        default=3_600,
        ge=60,
        le=604_800,
        description="seconds, 60 or more, that an ended container is kept with its logs",
    )
    docker_url: str = Field(
        default="unix:///var/run/docker.sock",
        pattern=r"^(unix:///|https?://).+",
        description="unix:///path/of/the.sock or http://host:port of the Docker engine",
    )
    docker_network: str = Field(default="bridge", description="a network of Docker's, or none")
    kubeconfig: str = Field(
        default="", description="a file; without it the pod's service account, or KUBECONFIG"
    )
    namespace: str = Field(default="", description="of jobs; without it that of the credentials")
    kube_secret: str = Field(
        default="starlings-container", description="the Secret whose keys steps name as secrets"
    )

    def check_image(self, image: str) -> None:
        """Refuse what may not be run.

        Raises:
            StepFailed: `not_allowed`.
        """
        patterns = [part.strip() for part in self.images.split(",") if part.strip()]
        if not any(fnmatchcase(image, pattern) for pattern in patterns):
            allowed = f"allows {', '.join(patterns)}" if patterns else "is not set"
            raise StepFailed(
                f"the image {image!r} may not be run here: STARLINGS_CONTAINER_IMAGES {allowed}; "
                'it takes patterns separated by commas, such as "registry.example.org/jobs/*"',
                code="not_allowed",
            )

    def resources(self, cpus: float | None, memory: str | None) -> tuple[float, int]:
        """Say how many processors and bytes a container gets.

        Raises:
            StepFailed: `not_allowed`, the step wants more than it may.
        """
        chosen, most = memory_bytes(memory or self.memory), memory_bytes(self.max_memory)
        if memory and chosen > most:
            raise StepFailed(
                f"memory {memory} is more than STARLINGS_CONTAINER_MAX_MEMORY={self.max_memory} "
                "allows",
                code="not_allowed",
            )
        if cpus and cpus > self.max_cpus:
            raise StepFailed(
                f"{cpus:g} cpus are more than STARLINGS_CONTAINER_MAX_CPUS={self.max_cpus:g} "
                "allows",
                code="not_allowed",
            )
        return cpus or self.cpus, chosen


def memory_bytes(text: str) -> int:
    """Read an amount of memory: bytes, or with Ki, Mi, Gi, Ti."""
    match = _MEMORY.match(text)
    if match is None:
        raise ValueError("memory is written like 512Mi or 2Gi")
    return int(match[1]) * _UNITS[match[2]]
