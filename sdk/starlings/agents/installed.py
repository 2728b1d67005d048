"""Agents that installed packages offer: the entry points group `starlings.agents`.

The agents that come with Starlings are offered like those of any other package, in its
`pyproject.toml`; there is no other list of them:

    [project.entry-points."starlings.agents"]
    orders = "orders:agent"
    reports = "orders_reports:agent [pdf]"

The name is the agent's. In brackets stands the extra of the package without which the agent cannot
work: it may be left out where that is not installed, and who starts it learns how to get it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import Distribution, EntryPoint, PackageNotFoundError, entry_points
from importlib.metadata import distribution as find_distribution

from starlings.messages import ConfigError

from .agent import Agent

GROUP = "starlings.agents"

_PROJECT = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_EXTRA = re.compile(r"""\s*extra\s*==\s*["']([^"']+)["']\s*""")


@dataclass(frozen=True)
class Offer:
    """An agent that a package offers; it is not loaded yet."""

    entry: EntryPoint

    @property
    def name(self) -> str:
        """The agent's name."""
        return self.entry.name

    @property
    def spec(self) -> str:
        """The name by which a process of its own loads it."""
        attribute = self.entry.attr
        return f"{self.entry.module}:{attribute}" if attribute else self.entry.module

    @property
    def package(self) -> str:
        """The package that offers it."""
        return self.entry.dist.name if self.entry.dist else ""

    @cached_property
    def missing(self) -> str | None:
        """What has to be installed before it can work, and how; None where nothing is missing."""
        dist = self.entry.dist
        if dist is None or not self.entry.extras:
            return None
        wanted = {_normal(extra) for extra in self.entry.extras}
        libraries = [name for name in _brought_by(dist, wanted) if not _is_installed(name)]
        if not libraries:
            return None
        extras = ",".join(self.entry.extras)
        return f"needs {', '.join(libraries)}: pip install '{dist.name}[{extras}]'"

    def load(self) -> Agent:
        """Import it.

        Raises:
            ConfigError: saying why that does not work.
        """
        what = f"the entry point {self.name!r} ({self.spec}) of {self.package or 'a package'}"
        try:
            agent = self.entry.load()
        except Exception as error:
            instead = self.missing or "reinstall its package"
            said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            raise _error(f"{what} cannot be loaded: {said}; {instead}") from error
        if not isinstance(agent, Agent):
            raise _error(f"{what} is a {type(agent).__name__}, and has to be an Agent")
        if agent.name != self.name:
            raise _error(f"{what} is the agent {agent.name!r}: name the entry point like the agent")
        return agent


def offered_agents(name: str | None = None) -> list[Offer]:
    """List what installed packages offer, by name; or under one name."""
    found = [Offer(entry) for entry in entry_points(group=GROUP) if name in (None, entry.name)]
    return sorted(found, key=lambda offer: (offer.name, offer.package, offer.spec))


def _brought_by(dist: Distribution, extras: set[str]) -> list[str]:
    """Name the libraries that extras of a package bring, wherever it is installed.

    What hangs on more than the extra (a system, a version of Python) is taken to be there.
    """
    brought = []
    for requirement in dist.requires or ():
        project, _, marker = requirement.partition(";")
        named, extra = _PROJECT.match(project), _EXTRA.fullmatch(marker)
        if named and extra and _normal(extra.group(1)) in extras:
            brought.append(named.group())
    return brought


def _is_installed(library: str) -> bool:
    try:
        find_distribution(library)
    except PackageNotFoundError:
        return False
    return True


def _normal(extra: str) -> str:
    return re.sub(r"[-_.]+", "-", extra).lower()


def _error(message: str) -> ConfigError:
    return ConfigError(message, code="agent_not_loaded")
