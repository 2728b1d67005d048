"""`Agent`: what an author declares, in a few lines.

An agent is either one function (`@agent.step`) or a set of tools of which a model chooses
(`@agent.tool`); either kind may say how its steps are undone (`@agent.compensate`). Mistakes show
when the module is imported, with words that say what to change.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar, overload

from starlings.messages import AgentDefined
from starlings.messages.base import AGENT_PATTERN

from .compensation_function import CompensationFunction
from .signatures import agent_error
from .step_function import StepFunction
from .tools import Tool

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_CONCURRENCY = 8


class Agent:
    """An agent: a name on a topic, and how it does a step.

    Args:
        name: lower-case letters, digits, '_' and '-'; also the name of its topic.
        description: what it can do, for planners and people.
        version: of its behaviour; part of its definition in the registry.
        concurrency: how many steps one instance works on at once.
        model: which model chooses its tools; None: the one of the settings.
        instructions: what that model is told besides the description.
        scales_from_zero: whether plans may use it while no instance is alive.
    """

    def __init__(
        self,
        name: str,
        *,
        description: str,
        version: str = "1",
        concurrency: int = DEFAULT_CONCURRENCY,
        model: str | None = None,
        instructions: str = "",
        scales_from_zero: bool = False,
    ) -> None:
        if not isinstance(name, str) or not re.fullmatch(AGENT_PATTERN[1:-1], name):
            raise agent_error(
                f"agent name {name!r} is not usable: it has to begin with a lower-case letter and "
                "go on with lower-case letters, digits, '_' or '-' (63 characters at most)"
            )
        if not description.strip():
            raise agent_error(
                f"agent {name!r} has no description; say what it can do, since planners choose "
                "agents by that"
            )
        if isinstance(concurrency, bool) or not isinstance(concurrency, int) or concurrency < 1:
            raise agent_error(f"agent {name!r}: concurrency has to be a whole number from 1 on")
        self.name = name
        self.description = " ".join(description.split())
        self.version = version
        self.concurrency = concurrency
        self.model = model
        self.instructions = instructions.strip()
        self.scales_from_zero = scales_from_zero
        self._tools: dict[str, Tool] = {}
        self._step: StepFunction | None = None
        self._compensation: CompensationFunction | None = None

    def __repr__(self) -> str:
        kind = "step" if self._step else f"{len(self._tools)} tools"
        return f"Agent({self.name!r}, {kind})"

    @property
    def tools(self) -> Mapping[str, Tool]:
        """The tools by name; empty where the agent is one function."""
        return MappingProxyType(self._tools)

    @property
    def step_function(self) -> StepFunction | None:
        """The one function; None where the agent has tools."""
        return self._step

    @property
    def compensation_function(self) -> CompensationFunction | None:
        """The function that undoes a step; None where the agent cannot."""
        return self._compensation

    @property
    def compensates(self) -> bool:
        """Whether it can undo its steps."""
        return self._compensation is not None

    @overload
    def tool(self, function: F, /) -> F: ...

    @overload
    def tool(
        self, /, *, name: str | None = None, description: str | None = None
    ) -> Callable[[F], F]: ...

    def tool(
        self,
        function: F | None = None,
        /,
        *,
        name: str | None = None,
        description: str | None = None,
    ) -> F | Callable[[F], F]:
        """Register a tool: a plain or async function with annotations and a docstring.

        Raises:
            ConfigError: saying what is wrong with it.
        """

        def register(function: F) -> F:
            tool = Tool(function, agent=self.name, name=name, description=description)
            if self._step is not None:
                raise self._both()
            if tool.name in self._tools:
                raise agent_error(
                    f"agent {self.name!r} has two tools named {tool.name!r}; "
                    "rename one with tool(name=…)"
                )
            self._tools[tool.name] = tool
            return function

        return register if function is None else register(function)

    def step(self, function: F) -> F:
        """Register the one function that does a step.

        Raises:
            ConfigError: saying what is wrong with it.
        """
        if self._tools:
            raise self._both()
        if self._step is not None:
            raise agent_error(
                f"agent {self.name!r} has a step function already; make a second agent"
            )
        self._step = StepFunction(function, agent=self.name)
        return function

    def compensate(self, function: F) -> F:
        """Register the one function that undoes a step; it takes what the step returned.

        Raises:
            ConfigError: saying what is wrong with it.
        """
        if self._compensation is not None:
            raise agent_error(
                f"agent {self.name!r} has a function that undoes its steps already; one undoes "
                "them all, or a step says itself what undoes it: Result(output, undo=…)"
            )
        self._compensation = CompensationFunction(function, agent=self.name)
        return function

    def definition(self) -> AgentDefined:
        """Describe the agent for the registry.

        Raises:
            ConfigError: it has neither tools nor a step function.
        """
        if self._step is None and not self._tools:
            raise agent_error(
                f"agent {self.name!r} can do nothing yet: register a function with "
                "@agent.step, or tools with @agent.tool"
            )
        return AgentDefined(
            agent=self.name,
            description=self.description,
            version=self.version,
            tools=[tool.definition for tool in self._tools.values()],
            takes=self._step.takes if self._step else None,
            scales_from_zero=self.scales_from_zero,
            compensates=self.compensates,
        )

    def _both(self) -> Exception:
        return agent_error(
            f"agent {self.name!r} has both tools and a step function; it is either one function "
            "or a set of tools, so make two agents of it"
        )
