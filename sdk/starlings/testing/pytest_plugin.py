"""`pytest --incident FILE`: each incident becomes tests, one for its decisions, one for each step.

pytest loads this wherever starlings is installed, so it imports nothing of it until an incident is
asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from starlings.agents import Agent

    from .incident import IncidentReplay

_FILES: pytest.StashKey[dict[Path, None]] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("starlings")
    group.addoption(
        "--incident",
        action="append",
        default=[],
        metavar="FILE",
        help="replay an incident that `starlings incident` wrote; may be repeated",
    )
    group.addoption(
        "--incident-agent",
        action="append",
        default=[],
        metavar="MODULE:AGENT",
        help="run this agent's steps again, with recorded answers; may be repeated",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Collect the incidents; where no tests are named, only them."""
    given = config.getoption("incident")
    if config.getoption("incident_agent") and not given:
        raise pytest.UsageError("--incident-agent needs an --incident")
    base = config.invocation_params.dir
    files = {(base / name).resolve(): None for name in given}
    for path in files:
        if not path.is_file():
            raise pytest.UsageError(f"--incident: there is no file {path}")
    config.stash[_FILES] = files
    if files:
        named = config.args_source is pytest.Config.ArgsSource.ARGS
        others = [arg for arg in config.args if Path(arg).resolve() not in files] if named else []
        config.args[:] = [*others, *map(str, files)]


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Make tests of an incident that was asked for."""
    if file_path.resolve() in parent.config.stash[_FILES]:
        return IncidentFile.from_parent(parent, path=file_path)
    return None


class IncidentFile(pytest.File):
    """An incident."""

    def collect(self) -> Iterator[pytest.Item]:
        """Make a test of its decisions, and one of each attempt of a step whose agent is given."""
        from starlings.agents.loading import load_agents  # noqa: PLC0415 - as said above
        from starlings.messages import StarlingsError  # noqa: PLC0415

        from .incident import IncidentReplay  # noqa: PLC0415

        specs: list[str] = self.config.getoption("incident_agent")
        try:
            agents = [agent for spec in specs for agent in load_agents(spec)]
            replay = IncidentReplay(self.path)
        except StarlingsError as error:
            raise self.CollectError(str(error)) from None
        yield IncidentItem.from_parent(self, name=f"{replay.run_id}::decisions", replay=replay)
        theirs = {agent.name for agent in agents}
        for name, attempt in replay.attempts.items():
            if attempt.ready.agent in theirs:
                yield IncidentItem.from_parent(
                    self, name=f"{replay.run_id}::{name}", replay=replay, step=name, agents=agents
                )


class IncidentItem(pytest.Item):
    """One check of an incident."""

    def __init__(
        self,
        *,
        replay: IncidentReplay,
        step: str = "",
        agents: list[Agent] | None = None,
        **rest: Any,
    ) -> None:
        super().__init__(**rest)
        self._replay = replay
        self._step = step
        self._agents = agents or []

    def runtest(self) -> None:
        """Check it."""
        if not self._step:
            self._replay.check_decisions()
            return
        why = self._replay.why_left(self._step, self._agents)
        if why is not None:
            pytest.skip(why)
        self._replay.check_step(self._step, self._agents)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], *_: Any) -> Any:
        """Show what is otherwise, and not where we found it out."""
        from starlings.messages import StarlingsError  # noqa: PLC0415 - as said above

        if isinstance(excinfo.value, AssertionError | StarlingsError):
            return str(excinfo.value)
        return super().repr_failure(excinfo)

    def reportinfo(self) -> tuple[Path, None, str]:
        """Say what it is, for the heading of a failure."""
        return self.path, None, f"incident {self.name}"
