"""Which images there are, and what makes each: planner, coordinator, and one for each agent.

The agents and their extras are those that `services/agents/pyproject.toml` offers, so that a new
agent has its image without a line here. `MORE_EXTRAS` adds what an agent loads only by choice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .members import read_members, split

MORE_EXTRAS = {"knowledge": {"knowledge"}, "knowledge_query": {"knowledge"}, "sql": {"bigquery"}}
AGENT = "agent-"
LABEL = "org.opencontainers.image"


@dataclass(frozen=True)
class Image:
    """An image: `starlings-<name>`, its Dockerfile and the arguments of its build."""

    name: str
    dockerfile: str
    arguments: Mapping[str, str] = field(default_factory=dict)

    def reference(self, registry: str, tag: str) -> str:
        """Write its full name."""
        return f"{registry.rstrip('/') + '/' if registry else ''}starlings-{self.name}:{tag}"

    def misfit(self, config: Mapping[str, Any], revision: str) -> str:
        """Say what the labels of an image tell that is not so; empty where all is well."""
        labels = config.get("config", {}).get("Labels") or {}
        title = labels.get(f"{LABEL}.title", "nothing").replace("_", "-")
        told = f"{title} of {labels.get(f'{LABEL}.revision', 'no revision')}"
        if told == (asked := f"starlings-{self.name} of {revision}"):
            return ""
        return (
            f"its labels say {told} instead of {asked}: the engine took a step of another image "
            "from its cache; try ENGINE_BUILD_OPTIONS=--no-cache"
        )


def all_images(root: Path) -> Mapping[str, Image]:
    """Give every image of the repository by its name."""
    services = [
        Image(name, f"deploy/docker/{name}.Dockerfile") for name in ("coordinator", "planner")
    ]
    _, project = read_members(root)["starlings-agents"]
    offers = project["entry-points"]["starlings.agents"]
    agents = [_agent(name, target) for name, target in sorted(offers.items())]
    return {image.name: image for image in [*services, *agents]}


def chosen(images: Mapping[str, Image], names: Iterable[str]) -> list[Image]:
    """Give the images of these names, or all where there is none.

    Raises:
        ValueError: there is no such image.
    """
    wanted = list(names) or list(images)
    if unknown := [name for name in wanted if name not in images]:
        raise ValueError(f"IMAGES={' '.join(unknown)}: there are {' '.join(images)}")
    return [images[name] for name in wanted]


def version(root: Path) -> str:
    """Give the version of Starlings, which is the tag unless another is named."""
    _, project = read_members(root)["starlings"]
    return str(project["version"])


def _agent(name: str, target: str) -> Image:
    where, _, needs = target.partition(" ")
    _, extras = split(f"starlings-agents{needs}")
    module = where.removeprefix("starlings_agents.").removesuffix(":agent")
    every = ",".join(sorted(extras | MORE_EXTRAS.get(name, set())))
    arguments = {"AGENT": module, "EXTRAS": every}
    return Image(AGENT + name.replace("_", "-"), "deploy/docker/agent.Dockerfile", arguments)
