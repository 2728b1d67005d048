"""The cluster, asked and told by kubectl and Helm; every call has an end."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.helm import RefusedError

UP = "STARLINGS_TEST_CLUSTER_UP"
DOWN = "STARLINGS_TEST_CLUSTER_DOWN"
BRING = (
    f"set KUBECONFIG, or {UP} to a command that brings a cluster up and prints `export` lines; "
    "kubectl and helm have to be on PATH"
)
UP_WITHIN_S = 300
CALL_WITHIN_S = 60


class NoCluster(RuntimeError):  # noqa: N818 - as it reads
    """There is no cluster to test on; the text says what is missing."""


@dataclass(frozen=True)
class Cluster:
    """A cluster that answers, and a namespace of our own in it."""

    namespace: str

    def kubectl(self, *argv: str, within_s: float = CALL_WITHIN_S, told: str = "") -> str:
        """Run kubectl in our namespace and give what it prints."""
        return run("kubectl", "--namespace", self.namespace, *argv, within_s=within_s, told=told)

    def get(self, *argv: str) -> Any:
        """Ask for objects, parsed."""
        return json.loads(self.kubectl("get", *argv, "--output=json"))

    def helm(self, *argv: str, within_s: float = CALL_WITHIN_S, told: str = "") -> str:
        """Run Helm in our namespace and give what it prints; `told` is its standard input."""
        return run("helm", "--namespace", self.namespace, *argv, within_s=within_s, told=told)

    def pods(self, selector: str) -> list[dict[str, Any]]:
        """List pods by their labels."""
        return list(self.get("pods", "--selector", selector)["items"])

    def has(self, resource: str) -> bool:
        """Tell whether a kind of object is known here."""
        return resource in self.kubectl("get", "crd", "--output=name")

    def address_of_this_machine(self) -> str:
        """Find the address by which nodes, and so pods, reach this machine."""
        addresses = self.get("nodes")["items"][0]["status"]["addresses"]
        (node, *_) = (a["address"] for a in addresses if a["type"] == "InternalIP")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((node, 9))  # nothing is sent: the route tells our side of it
            return str(probe.getsockname()[0])


def run(
    *command: str, within_s: float = CALL_WITHIN_S, told: str = "", folder: Path | None = None
) -> str:
    """Run a program, in a folder if one is given, and give its output.

    Raises:
        RefusedError: with what it says.
    """
    done = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        timeout=within_s,
        input=told,
        cwd=folder,
    )
    if done.returncode:
        raise RefusedError(f"{' '.join(command[:6])} …: {done.stdout}{done.stderr}")
    return done.stdout


@contextlib.contextmanager
def cluster(namespace: str) -> Iterator[Cluster]:
    """Have the cluster, with a namespace of our own; both are gone in the end if we made them.

    Raises:
        NoCluster: none is named, or it does not answer.
    """
    with contextlib.ExitStack() as stack:
        if command := os.environ.get(UP):
            _bring_up(command, stack)
        if not os.environ.get("KUBECONFIG"):
            raise NoCluster(f"no cluster is named: {BRING}")
        if missing := [name for name in ("kubectl", "helm") if shutil.which(name) is None]:
            raise NoCluster(f"{' and '.join(missing)} cannot be found: {BRING}")
        found = Cluster(namespace)
        try:
            run("kubectl", "create", "namespace", namespace)
        except (RefusedError, subprocess.TimeoutExpired) as error:
            raise NoCluster(f"the cluster does not answer: {error}; {BRING}") from error
        stack.callback(_remove, namespace)
        yield found


def _bring_up(command: str, stack: contextlib.ExitStack) -> None:
    """Run the command, and take over what its `export` lines say."""
    script = 'lines=$(eval "$0") && eval "$(grep ^export <<<"$lines")" && env -0'
    before = dict(os.environ)
    stack.callback(_restore, before)
    try:
        told = run("bash", "-c", script, command, within_s=UP_WITHIN_S)
    except (RefusedError, subprocess.TimeoutExpired) as error:
        raise NoCluster(f"{UP}: {error}") from error
    os.environ.update(pair.split("=", 1) for pair in told.split("\0") if "=" in pair)
    if down := os.environ.get(DOWN):
        stack.callback(run, "bash", "-c", down, within_s=UP_WITHIN_S)


def _restore(before: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(before)


def _remove(namespace: str) -> None:
    with contextlib.suppress(RefusedError, subprocess.TimeoutExpired):
        run("kubectl", "delete", "namespace", namespace, "--wait=false")
