"""`starlings dev`: the whole system in one terminal, with agents that start again on a change.

Every service is a process of its own; their log lines come out here, each with its name before it.
When a Python file near an agent changes, that agent's process is stopped (it hands its steps back)
and started anew; the others go on.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.text import Text

from starlings.agents.installed import offered_agents
from starlings.agents.projects import PROJECT_FILE
from starlings.broker import ResolvedBroker, resolve_broker
from starlings.messages import ConfigError

from .supervise import ProcessFailed, Supervisor
from .system import (
    USUAL,
    AgentProgram,
    LeftOut,
    installed_programs,
    model_description,
    programs,
    unique_services,
    whole_system,
)

COLOURS = ("cyan", "green", "magenta", "yellow", "blue", "bright_cyan", "bright_green")
NAME_WIDTH = 14
LOOK_AFTER_S = 1.0


class Lines:
    """Puts the output of several processes into one terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._colours: dict[str, str] = {}

    def __call__(self, name: str, line: str) -> None:
        """Print one line of a process, as it is: its text is not ours and is not markup."""
        colour = self._colours.setdefault(name, COLOURS[len(self._colours) % len(COLOURS)])
        head = Text(f"{name[:NAME_WIDTH]:<{NAME_WIDTH}} ", style=colour)
        self._console.print(head + Text.from_ansi(line), soft_wrap=True)


@dataclass(frozen=True)
class Cast:
    """Which agents `dev` runs."""

    programs: Sequence[AgentProgram]
    reloaded: Sequence[AgentProgram] = ()
    left_out: Sequence[LeftOut] = ()


def cast(
    specs: Sequence[str], *, builtin: bool, everything: bool = False, reload: bool = True
) -> Cast:
    """Choose the agents: those that were named, and installed ones beside them.

    One that was named is run instead of an installed one of its name. `everything`: all that is
    installed, else only what needs no setting.

    Raises:
        ConfigError: a named agent cannot be loaded, or two have the same name.
    """
    own = programs(specs)
    names = [program.agent.name for program in own]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"two agents are named {twice[0]!r}: rename one, or name it once")
    usual = USUAL if builtin else ()
    found, left_out = installed_programs(None if everything else usual)
    others = [program for program in found if program.agent.name not in names]
    return Cast(
        programs=[*others, *own],
        reloaded=own if reload else [],
        left_out=[each for each in left_out if each.name not in names],
    )


async def dev(console: Console, agents: Cast) -> int:
    """Run the system until Ctrl-C; return the exit code."""
    broker = await asyncio.to_thread(resolve_broker, progress=lambda text: _say(console, text))
    try:
        return await _run(console, agents, broker)
    finally:
        await asyncio.to_thread(broker.close)
        _say(console, "stopped all that was started here")


async def _run(console: Console, agents: Cast, broker: ResolvedBroker) -> int:
    _say(console, f"broker: {broker.description}")
    _say(console, f"model: {model_description()}")
    for each in agents.left_out:
        _say(console, f"left out: {each.name} ({each.why})")
    async with stop_signals() as stop:
        try:
            async with whole_system(agents.programs, broker, Lines(console)) as supervisor:
                _say(console, f"agents: {', '.join(p.agent.name for p in agents.programs)}")
                _say(console, 'ready; in another terminal: starlings run "Calculate 5 factorial"')
                _say(console, "Ctrl-C stops everything")
                return await _watch(console, supervisor, agents.reloaded, stop)
        except ProcessFailed as error:
            if stop.is_set():
                return 0
            console.print(Text(f"starlings dev: {error}", style="red"))
            return 1


async def _watch(
    console: Console,
    supervisor: Supervisor,
    reloaded: Sequence[AgentProgram],
    stop: asyncio.Event,
) -> int:
    tasks = [asyncio.create_task(_look_after(supervisor, stop))]
    if reloaded:
        tasks.append(asyncio.create_task(_reload(console, supervisor, reloaded, stop)))
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    stop.set()
    await asyncio.gather(*tasks)
    return 0


async def _look_after(supervisor: Supervisor, stop: asyncio.Event) -> None:
    """Notice a process that ends by itself.

    Raises:
        ProcessFailed: with the last lines that it wrote.
    """
    while not stop.is_set():
        supervisor.check()
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_AFTER_S):
                await stop.wait()


async def _reload(
    console: Console,
    supervisor: Supervisor,
    reloaded: Sequence[AgentProgram],
    stop: asyncio.Event,
) -> None:
    from watchfiles import PythonFilter, awatch  # noqa: PLC0415 - only where something is watched

    services = unique_services(reloaded)
    folders = {folder_of(program.spec) for program in reloaded}
    async for changes in awatch(*folders, watch_filter=PythonFilter(), stop_event=stop):
        changed = ", ".join(sorted({Path(path).name for _, path in changes}))
        for service in services:
            _say(console, f"{changed} changed: starting {service.name} again")
            with supervisor.restarting(service.name):
                await supervisor.stop(service.name)
                await supervisor.start(service)
            try:
                await supervisor.ready([service.name])
            except ProcessFailed as error:
                supervisor.forget(service.name)
                console.print(Text(f"{error}\nmend it: it starts again then", style="red"))
            else:
                _say(console, f"{service.name} is ready again")


def folder_of(spec: str) -> Path:
    """Tell which folder an agent's code lies in."""
    where = spec.split(":", maxsplit=1)[0] if not spec.endswith(".py") else spec
    path = Path(where).resolve()
    if where.endswith(".py"):
        return path.parent
    if (path / PROJECT_FILE).is_file():
        return path
    import importlib.util  # noqa: PLC0415 - as above

    offers = offered_agents(where) if where == spec else []
    module = offers[0].entry.module if offers else where
    found = importlib.util.find_spec(module.split(".")[0])
    origin = found.origin if found else None
    return Path(origin).resolve().parent if origin else Path.cwd()


@asynccontextmanager
async def stop_signals() -> AsyncGenerator[asyncio.Event]:
    """Turn SIGINT, SIGTERM and SIGHUP into an event, so that all is stopped in order."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def _say(console: Console, text: str) -> None:
    console.print(Text(f"{'starlings':<{NAME_WIDTH}} ", style="bold") + Text(text), soft_wrap=True)
