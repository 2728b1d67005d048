"""Looking into rendered manifests: objects by kind, pods, containers, their environment."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

Object = dict[str, Any]


def of_kind(objects: Iterable[Object], kind: str) -> dict[str, Object]:
    """Give the objects of a kind by their names."""
    return {each["metadata"]["name"]: each for each in objects if each["kind"] == kind}


def pods(objects: Iterable[Object]) -> Iterator[tuple[str, Object]]:
    """Give the specification of each pod that would run, with the name of what makes it."""
    for each in objects:
        name = f"{each['kind']}/{each['metadata']['name']}"
        if each["kind"] == "Pod":
            yield name, each["spec"]
        elif each["kind"] in ("Deployment", "Job"):
            yield name, each["spec"]["template"]["spec"]


def environment(pod: Object) -> dict[str, str]:
    """Read the variables of a pod's container; those from elsewhere are `<from …>`."""
    (container,) = pod["containers"]
    found: dict[str, str] = {}
    for variable in container["env"]:
        assert variable["name"] not in found, f"{variable['name']} is there twice"
        found[variable["name"]] = variable.get("value", f"<from {variable.get('valueFrom')}>")
    return found


def secret_keys(pod: Object) -> set[tuple[str, str]]:
    """List the keys of Secrets that a pod needs, from its environment and its volumes."""
    (container,) = pod["containers"]
    keys = set()
    for variable in container["env"]:
        if reference := variable.get("valueFrom", {}).get("secretKeyRef"):
            keys.add((reference["name"], reference["key"]))
    for volume in pod["volumes"]:
        for source in volume.get("projected", {}).get("sources", []):
            keys |= {(source["secret"]["name"], item["key"]) for item in source["secret"]["items"]}
    return keys
