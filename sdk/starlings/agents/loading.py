"""Finding agents by name: in modules, in files, and among installed packages.

Where something cannot be loaded, the error says which part of the name is wrong and what there is.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from starlings.messages import ConfigError
from starlings.messages.base import AGENT_PATTERN

from .agent import Agent
from .installed import GROUP, offered_agents
from .projects import project_entries, source_folders

_HOW = 'name it like "package.module:agent", "package.module" or "folder/file.py:agent"'
_NAME = re.compile(AGENT_PATTERN[1:-1])


def load_agents(spec: str) -> list[Agent]:
    """Load agents from `module:name`, `module`, `path/file.py:name`, `path/file.py`, or a folder.

    Without a name, all agents that the module holds. The name may stand for an agent or for a list
    of agents. Modules are looked for in the working directory too. A folder stands for the agents
    that its `pyproject.toml` offers, and the name of an agent alone for an installed one.

    Raises:
        ConfigError: saying what cannot be found or imported.
    """
    where, separator, name = spec.strip().rpartition(":")
    if not separator or name.endswith(".py") or "/" in name or "\\" in name:  # a drive, C:\…
        where, name = spec.strip(), ""
    if not where or (separator and not name and spec.strip().endswith(":")):
        raise _error(f"{spec!r} names no agent; {_HOW}")
    if not name and _NAME.fullmatch(where) and (offers := offered_agents(where)):
        return [offers[0].load()]
    if (entries := project_entries(Path(where))) is not None:
        return _of_project(Path(where), entries, name)
    module = _module_of_file(Path(where)) if where.endswith(".py") else _module(where)
    agents = _named(module, name, spec) if name else _all_in(module)
    if not agents:
        raise _error(f"there is no agent in {where}; make one with `agent = Agent(…)`")
    _check(agents, spec)
    return agents


def load_agent(spec: str) -> Agent:
    """Load one agent, named as for `load_agents`.

    Raises:
        ConfigError: saying what cannot be found or imported, or which of several could be meant.
    """
    agents = load_agents(spec)
    if len(agents) > 1:
        names = ", ".join(agent.name for agent in agents)
        raise _error(f"{spec} holds several agents ({names}); name one: {spec}:<variable>")
    return agents[0]


def builtin_agents() -> list[Agent]:
    """Load the agents that installed packages offer under the entry points `starlings.agents`.

    Raises:
        ConfigError: one of them cannot be loaded.
    """
    agents = [offer.load() for offer in offered_agents()]
    _check(agents, f"entry points {GROUP!r}")
    return agents


def find_agent(name: str, spec: str | None = None, *, option: str = "--agent") -> Agent:
    """Load the agent of a name: from `spec`, else from the project in this folder or a package.

    Where `spec` names one agent, that is it, whatever its name; `option` is how one is named.

    Raises:
        ConfigError: there is none, or several that could be meant.
    """
    if spec is not None:
        agents = load_agents(spec)
        named = [agent for agent in agents if agent.name == name]
        if named or len(agents) == 1:
            return (named or agents)[0]
        there = ", ".join(agent.name for agent in agents)
        raise _error(f"{spec} holds no agent {name!r}, but {there}; name one: {spec}:<variable>")
    here = Path.cwd()
    if name in (_offered_here(here) or {}):
        return load_agents(f"{here}:{name}")[0]
    if offers := offered_agents(name):
        return offers[0].load()
    raise _error(
        f"no installed package offers an agent {name!r}, nor does a pyproject.toml in this folder; "
        f"say where it is: {option} module:agent, or {option} file.py:agent"
    )


def _offered_here(folder: Path) -> dict[str, tuple[str, str]] | None:
    """Read what a folder offers; a project without agents is none."""
    try:
        return project_entries(folder)
    except ConfigError:
        return None


def _of_project(folder: Path, entries: dict[str, tuple[str, str]], name: str) -> list[Agent]:
    chosen = {key: value for key, value in entries.items() if name in ("", key, value[1])}
    if not chosen:
        there = ", ".join(f"{key} ({':'.join(value)})" for key, value in entries.items())
        raise _error(f"{folder} offers no agent {name!r}; its pyproject.toml names: {there}")
    for source in reversed(source_folders(folder)):
        _look_in(source)
    agents = []
    for where, variable in chosen.values():
        module = _module(where)
        file = getattr(module, "__file__", None) or "built in"
        if not Path(file).is_relative_to(folder.resolve()):
            raise _error(
                f"{folder}: the module {where!r} that was imported is another one ({file}); "
                "give it a name that no other module has"
            )
        agents += _named(module, variable, f"{where}:{variable}") if variable else _all_in(module)
    _check(agents, str(folder))
    return agents


def _module(name: str) -> ModuleType:
    _look_in(Path.cwd())
    try:
        return importlib.import_module(name)
    except ConfigError:
        raise
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if name == missing or name.startswith(f"{missing}."):
            raise _error(
                f"there is no module {missing!r} in the working directory or among the installed "
                f"packages; {_HOW}"
            ) from None
        raise _error(f"{name} imports {missing!r}, which is not installed") from error
    except Exception as error:
        raise _error(f"{name} cannot be imported: {_said(error)}") from error


def _module_of_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise _error(f"there is no file {path} (the working directory is {Path.cwd()})")
    path = path.resolve()
    _look_in(path.parent)  # so that it can import its neighbours
    known = sys.modules.get(path.stem)
    if known is not None and getattr(known, "__file__", None) == str(path):
        return known
    name = path.stem if known is None else f"_starlings_file_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise _error(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, ConfigError) or not isinstance(error, Exception):
            raise
        raise _error(f"{path} cannot be imported: {_said(error)}") from error
    return module


def _look_in(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def _named(module: ModuleType, name: str, spec: str) -> list[Agent]:
    value: Any = getattr(module, name, None)
    agents = list(value) if isinstance(value, list | tuple) else [value]
    if all(isinstance(agent, Agent) for agent in agents):
        return agents
    there = ", ".join(key for key, v in vars(module).items() if isinstance(v, Agent)) or "none"
    what = "is no agent" if hasattr(module, name) else "does not exist"
    raise _error(f"{spec!r}: {name!r} {what}; agents in that module: {there}")


def _all_in(module: ModuleType) -> list[Agent]:
    agents = [value for value in vars(module).values() if isinstance(value, Agent)]
    return list({id(agent): agent for agent in agents}.values())


def _check(agents: Iterable[Agent], where: str) -> None:
    names: set[str] = set()
    for agent in agents:
        agent.definition()  # says what is missing
        if agent.name in names:
            raise _error(f"{where}: there are two agents named {agent.name!r}; rename one")
        names.add(agent.name)


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _error(message: str) -> ConfigError:
    return ConfigError(message, code="agent_not_loaded")
