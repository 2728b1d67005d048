"""One release of the chart in the cluster: what it is told, and its deployments and pods."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from support.chaos import agent as chaos_agent
from support.chaos.agent import JOURNAL_TOPIC
from support.helm import CHART, RefusedError
from support.waiting import wait_until

from .cluster import Cluster
from .images import Images

NAME = "starlings"
INSTALLED_WITHIN_S = 300
PARTITIONS = 8
CONCURRENCY = 4
MOST = 4
#: Short enough for a test: what a chart says for production is in minutes.
SCALING = {
    "kind": "keda",
    "minReplicas": 0,
    "maxReplicas": MOST,
    "pollingInterval": 2,
    "cooldownPeriod": 8,
    "scaleDownStabilizationSeconds": 5,
}
SMALL = {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "384Mi"}}
CODE = "chaos-agents"


@dataclass
class Release:
    """A release, and how to look at what runs of it; its name has `starlings` in it."""

    cluster: Cluster
    images: Images
    bootstrap: str
    prefix: str
    name: str = NAME
    installed: dict[str, Any] = field(default_factory=dict)

    @property
    def journal(self) -> str:
        """Name the topic that agents write down their work in."""
        return f"{self.prefix}journal"

    def values(self) -> dict[str, Any]:
        """Write the values: two agents that come along, and the two of the chaos tests."""
        return {
            "image": {"registry": self.images.registry, "tag": self.images.tag},
            "kafka": {"bootstrapServers": self.bootstrap},
            "topics": {"prefix": self.prefix, "partitions": 4, "replication": 1},
            "defaults": {"resources": SMALL},
            "agents": {
                "math": {},
                "string": {},
                "north": {**self._own("north"), "autoscaling": SCALING},
                "south": self._own("south"),
            },
        }

    def _own(self, name: str) -> dict[str, Any]:
        """An agent of our own: an image with Starlings in it, and the agent's code beside it."""
        return {
            "image": self.images.name("agent-math"),
            "args": [f"/agents/agent.py:{name}"],
            "partitions": PARTITIONS,
            "concurrency": CONCURRENCY,
            "env": {JOURNAL_TOPIC: self.journal},
            "volumes": [{"name": "code", "configMap": {"name": CODE}}],
            "volumeMounts": [{"name": "code", "mountPath": "/agents", "readOnly": True}],
        }

    def install(self, values: Mapping[str, Any] | None = None) -> None:
        """Install, or upgrade to, these values, and wait until all is ready."""
        self.installed = dict(values or self.values())
        words = ["upgrade", "--install", self.name, str(CHART), "--values", "-", "--wait"]
        words += ["--timeout", f"{INSTALLED_WITHIN_S}s"]
        told = yaml.safe_dump(self.installed)
        try:
            self.cluster.helm(*words, within_s=INSTALLED_WITHIN_S + 30, told=told)
        except RefusedError as error:
            raise RefusedError(f"{error}\n{self.report()}") from error

    def bring_code(self) -> None:
        """Put the chaos agents' code where their pods mount it from."""
        file = Path(chaos_agent.__file__)
        self.cluster.kubectl("create", "configmap", CODE, f"--from-file={file}")

    def uninstall(self) -> None:
        """Remove it, and wait until its pods are gone."""
        self.cluster.helm("uninstall", self.name, "--wait", "--timeout", "90s", within_s=120)

    def report(self) -> str:
        """Say what there is, for whoever looks for the reason."""
        found = [self.cluster.kubectl("get", "pods,deployments,scaledobjects", "--output=wide")]
        for pod in self.cluster.pods(f"app.kubernetes.io/instance={self.name}"):
            name = pod["metadata"]["name"]
            try:
                log = self.cluster.kubectl("logs", name, "--tail=8")
            except RefusedError as error:
                log = str(error)
            found.append(f"--- {name}\n{log}")
        return "\n".join(found)

    def deployment(self, program: str) -> Any:
        """Get a deployment: `planner`, `coordinator`, or `agent-<name>`."""
        return self.cluster.get("deployment", f"{self.name}-{program}")

    def pods(self, program: str) -> list[dict[str, Any]]:
        """List a deployment's pods that have not been told to end."""
        labels = self.deployment(program)["spec"]["selector"]["matchLabels"]
        selector = ",".join(f"{key}={value}" for key, value in labels.items())
        return [p for p in self.cluster.pods(selector) if "deletionTimestamp" not in p["metadata"]]

    async def wait_replicas(self, program: str, number: int, *, timeout_s: float = 90) -> None:
        """Wait until a deployment wants so many replicas, and has them."""
        await wait_until(
            lambda: replicas(self.deployment(program)) == (number, number),
            timeout_s=timeout_s,
            message=f"{program} has {number} replicas\n{self.report()}",
        )

    def kill(self, pod: Mapping[str, Any]) -> str:
        """End a pod as a crash of its node would: without a word to its program."""
        name = str(pod["metadata"]["name"])
        self.cluster.kubectl("delete", "pod", name, "--grace-period=0", "--force")
        return name


def replicas(deployment: Mapping[str, Any]) -> tuple[int, int]:
    """Tell how many instances are wanted, and how many are ready."""
    ready = deployment["status"].get("readyReplicas", 0)
    return int(deployment["spec"].get("replicas", 1)), int(ready)


def now_s() -> float:
    """Read the clock that the journal of pods is kept by."""
    return time.time()
