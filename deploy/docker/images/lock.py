"""Takes out of `requirements.lock` what some packages need, with its hashes.

The lock says below each package which others wanted it (`# via`), so the graph is in the file
itself and no index is asked. A package wanted only by an optional part of another is kept where
the other is: a little too much, never too little.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

_PINNED = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==")
_COMMENT = re.compile(r"^\s+#\s+(?:via\s*)?(\S*)")


@dataclass(frozen=True)
class Pin:
    """A package of the lock: its lines with the hashes, and who wanted it.

    It has several versions where Pythons differ in what they can have; pip takes by the markers.
    """

    name: str
    text: str
    wanted_by: frozenset[str]


def normal(name: str) -> str:
    """Write a package's name as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_lock(text: str) -> Mapping[str, Pin]:
    """Read a lock as `make lock` writes it.

    Raises:
        ValueError: a package has no hash, or nobody who wanted it.
    """
    blocks: list[list[str]] = []
    for line in text.splitlines():
        if _PINNED.match(line):
            blocks.append([line])
        elif blocks and line.startswith(" "):
            blocks[-1].append(line)
    pins: dict[str, Pin] = {}
    for pin in map(_pin, blocks):
        if (other := pins.get(pin.name)) is None:
            pins[pin.name] = pin
        else:
            parents = other.wanted_by | pin.wanted_by
            pins[pin.name] = Pin(pin.name, f"{other.text}\n{pin.text}", parents)
    return pins


def needed(pins: Mapping[str, Pin], roots: Iterable[str]) -> list[Pin]:
    """Give the pins of these packages and of all that they want, in the order of the lock.

    Raises:
        ValueError: the lock lacks one; run `make lock`.
    """
    wants: dict[str, set[str]] = {}
    for pin in pins.values():
        for parent in pin.wanted_by:
            wants.setdefault(parent, set()).add(pin.name)
    found: set[str] = set()
    ahead = {normal(root) for root in roots}
    if missing := sorted(ahead - pins.keys()):
        raise ValueError(f"requirements.lock has no {', '.join(missing)}; run `make lock`")
    while ahead:
        name = ahead.pop()
        found.add(name)
        ahead |= wants.get(name, set()) - found
    return [pin for name, pin in pins.items() if name in found]


def as_requirements(pins: Collection[Pin]) -> str:
    """Write pins as a file for `pip install --require-hashes`."""
    return "".join(f"{pin.text}\n" for pin in pins)


def _pin(block: list[str]) -> Pin:
    match = _PINNED.match(block[0])
    name = normal(match.group(1)) if match else block[0]
    lines = [line for line in block if not line.lstrip().startswith("#")]
    parents = {
        normal(found.group(1)) for line in block if (found := _COMMENT.match(line)) and found[1]
    }
    if not any("--hash=sha256:" in line for line in lines):
        raise ValueError(f"{name} has no hash in requirements.lock; run `make lock`")
    if not parents:
        raise ValueError(f"requirements.lock does not say who wants {name}; run `make lock`")
    return Pin(name, "\n".join(lines), frozenset(parents))
