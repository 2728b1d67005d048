"""What `starlings new agent` writes: a folder with an agent, its test, and what ships it.

Nothing that exists is overwritten. The files are templates in `templates/agent`; what they say
must pass the checks of this repository as written, whatever the agent's name is.
"""

from __future__ import annotations

import json
import keyword
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from string import Template

from starlings.agents.installed import offered_agents
from starlings.messages import ConfigError

LONGEST_NAME = 63
WAITS = "waits: true  # one instance stays: its waiting steps leave no lag to scale by"
_FORM = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")
_TAKEN = ("conftest", "setup")  # files that other programs read
_COMMON = {
    "pyproject.toml": "pyproject.toml",
    "Dockerfile": "Dockerfile",
    ".dockerignore": "dockerignore",
    "values.yaml": "values.yaml",
    "README.md": "README.md",
}


@dataclass(frozen=True)
class Kind:
    """A kind of agent, and what it is given to try it: as input, to a tool, or by an event."""

    does: str
    given: Mapping[str, object]
    tool: str | None = None
    event: str | None = None  # that it reacts to; None: it does steps
    values: str = ""  # lines that the chart has to be told beside the image

    @property
    def trial(self) -> str:
        """Write the options of `starlings agent try`."""
        if self.tool is not None:
            return f"--tool {self.tool} --args '{json.dumps(self.given)}'"
        of_event = f"--event {self.event} " if self.event is not None else ""
        return f"{of_event}--input '{json.dumps(self.given)}'"

    @property
    def work(self) -> str:
        """Write what the step of its plan has to do."""
        if self.tool is not None:
            return f"tool: {self.tool}\n    args: {json.dumps(self.given)}"
        return f"input: {json.dumps(self.given)}"

    @property
    def ask(self) -> str:
        """Write the command that gives it work on Kafka."""
        if self.event is not None:
            return f"starlings emit {self.event} '{json.dumps(self.given)}'"
        return "starlings run --plan plan.yaml"


KINDS = {
    "function": Kind("Reserves seats", {"seats": 2}),
    "tools": Kind(
        "Converts temperatures between Celsius and Fahrenheit",
        {"celsius": 20},
        tool="to_fahrenheit",
    ),
    "job": Kind("Renders films on a farm", {"film": "High tide"}, values=WAITS),
    "sensor": Kind("Waits for a moment", {"at": "2020-01-01T00:00:00Z"}, values=WAITS),
    "react": Kind(
        "Confirms or refuses orders when they are placed",
        {"number": 7, "item": "worm"},
        event="order_placed",
        values="takesSteps: false\n"
        "    listens: [order_placed]\n"
        "    emits: [order_confirmed, order_refused]",
    ),
}


def write_agent(name: str, kind: str, folder: Path) -> list[Path]:
    """Write the files of a new agent, and say which.

    Raises:
        ConfigError: the name cannot be used, or something is there already.
    """
    check_name(name)
    if folder.exists() and not folder.is_dir():
        raise _error(f"{folder} is a file; name a folder with --dir")
    texts = {folder / file: text for file, text in _texts(name, kind).items()}
    if there := [path.name for path in texts if path.exists()]:
        raise _error(
            f"{folder} has {', '.join(there)} already, and nothing is overwritten; "
            "name another folder with --dir"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in texts.items():
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
    except OSError as error:
        raise _error(f"{folder} cannot be written: {error}") from None
    return list(texts)


def check_name(name: str) -> None:
    """See whether an agent, its topic, its module and its package can have a name.

    Raises:
        ConfigError: saying what is wrong with it.
    """
    if not _FORM.fullmatch(name) or len(name) > LONGEST_NAME:
        raise _error(
            f"an agent cannot be named {name!r}: take lower-case letters and digits, a letter "
            f"first, single '-' or '_' in between, {LONGEST_NAME} characters at most{_rather(name)}"
        )
    if offers := offered_agents(name):
        raise _error(
            f"{name!r} is an agent of {offers[0].package}, which is installed: both would take "
            "the same steps; take another name"
        )
    module = module_of(name)
    if keyword.iskeyword(module):
        raise _error(f"{name!r} is a word of Python, so no module can have the name; take another")
    if module in _TAKEN or module in sys.stdlib_module_names or _is_importable(module):
        raise _error(
            f"there is a Python module {module!r} already, which {module}.py would hide; "
            "take another name"
        )


def module_of(name: str) -> str:
    """Name the module of an agent."""
    return name.replace("-", "_")


def _texts(name: str, key: str) -> Mapping[str, str]:
    module, kind = module_of(name), KINDS[key]
    wanted = {f"{module}.py": f"{key}/agent.py", f"test_{module}.py": f"{key}/test_agent.py"}
    if kind.event is None:
        wanted["plan.yaml"] = "plan.yaml"
    facts = (
        "--fact order_placed --fact order_confirmed --fact order_refused",
        "`facts.order_placed`",
    )
    steps = (f"--agent {name}", f"`steps.{name}`")
    ensure, topic = steps if kind.event is None else facts
    values = {
        "name": name,
        "module": module,
        "version": version("starlings"),
        "does": kind.does,
        "trial": kind.trial,
        "work": kind.work,
        "ask": kind.ask,
        "unit": "step" if kind.event is None else "reaction",
        "ensure": ensure,
        "topic": topic,
        "values": f"    {kind.values}\n" if kind.values else "",
    }
    source = files("starlings.cli") / "templates" / "agent"
    return {
        file: Template((source / f"{template}.tmpl").read_text("utf-8")).substitute(values)
        for file, template in (wanted | _COMMON).items()
    }


def _rather(name: str) -> str:
    other = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-0123456789")[:LONGEST_NAME]
    return f", such as {other!r}" if _FORM.fullmatch(other) else ""


def _is_importable(module: str) -> bool:
    found = find_spec(module)
    return found is not None and found.origin is not None  # a folder alone is no module yet


def _error(message: str) -> ConfigError:
    return ConfigError(message, code="agent_not_written")
