"""`Agent`: what an author declares, in a few lines.

An agent is one function (`@agent.step`), or a set of tools of which a model chooses
(`@agent.tool`), or a model that follows a strategy without tools; each kind may say how its steps
are undone (`@agent.compensate`). Beside that, or instead of it, an agent may react to domain events
(`@agent.on`). Mistakes show when the module is imported, with words that say what to change.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Coroutine, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeVar, overload

from pydantic import BaseModel

from starlings.llm.choice import ModelChoice
from starlings.llm.prompt_file import Prompt
from starlings.messages import AgentDefined, AgentTopic, RetryPolicy
from starlings.messages.base import AGENT_PATTERN

from .compensation_function import CompensationFunction
from .event import checked_type, event_type_of
from .limits import Limit
from .reaction_function import TIMEOUT_S, ReactionFunction
from .signatures import agent_error
from .step_function import StepFunction
from .strategy import Strategy
from .tools import Tool

Alongside = Callable[[], Coroutine[Any, Any, None]]
A = TypeVar("A", bound=Alongside)
F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_CONCURRENCY = 8


class Agent:
    """An agent: a name on a topic, and how it does a step.

    Args:
        name: lower-case letters, digits, '_' and '-'; also the name of its topic.
        description: what it can do, for planners and people.
        version: of its behaviour; part of its definition in the registry.
        concurrency: how many steps one instance works on at once.
        model: which model it asks: a name, or a `ModelChoice`; None: the one of the settings.
        instructions: what that model is told besides the description; a text, or a `Prompt` file.
        scales_from_zero: whether plans may use it while no instance is alive.
        strategy: how a model does its steps: "tool-plan" (where there are tools, unless said
            otherwise), "react", "reflection", "debate", or an object such as `ReAct(max_turns=8)`.
        retry: how often its steps are tried, where neither the step nor the run says otherwise.
        topics: topics that it needs beside those of its steps, as `AgentTopic(name="prices.eu")`,
            or a function that names them, called when the definition is made.
        limits: how many steps at once, over all instances of all agents that name the limit.
        records_calls: whether what models and tools gave, and `ctx.once`, goes into the log with
            the end of each step (64 KiB at most), so that the step can be run again from it.
    """

    def __init__(
        self,
        name: str,
        *,
        description: str,
        version: str = "1",
        concurrency: int = DEFAULT_CONCURRENCY,
        model: str | ModelChoice | None = None,
        instructions: str | Prompt = "",
        strategy: str | Strategy | None = None,
        scales_from_zero: bool = False,
        retry: RetryPolicy | None = None,
        limits: Sequence[Limit] = (),
        topics: Sequence[AgentTopic] | Callable[[], Sequence[AgentTopic]] = (),
        records_calls: bool = True,
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
        if retry is not None and not isinstance(retry, RetryPolicy):
            raise agent_error(f"agent {name!r}: retry has to be a RetryPolicy(attempts=…, …)")
        if model is not None and not isinstance(model, str | ModelChoice):
            raise agent_error(f"agent {name!r}: model has to be a name, or a ModelChoice(model=…)")
        self.name = name
        self.description = " ".join(description.split())
        self.version = version
        self.concurrency = concurrency
        self.model = ModelChoice(model=model) if isinstance(model, str) else model
        self.instructions = str(instructions).strip()
        self.strategy = _strategy(strategy, name)
        self.scales_from_zero = scales_from_zero
        self.retry = retry
        self.limits = tuple(limits)
        if len({limit.name for limit in self.limits}) < len(self.limits):
            raise agent_error(f"agent {name!r} names a limit twice")
        self.topics = topics
        self.records_calls = records_calls
        self._tools: dict[str, Tool] = {}
        self._step: StepFunction | None = None
        self._compensation: CompensationFunction | None = None
        self._reactions: dict[str, ReactionFunction] = {}
        self._alongside: list[Alongside] = []

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
    def reactions(self) -> Mapping[str, ReactionFunction]:
        """What it does when it hears of events, by their type."""
        return MappingProxyType(self._reactions)

    @property
    def work_alongside(self) -> Sequence[Alongside]:
        """What each instance does beside its steps."""
        return tuple(self._alongside)

    @property
    def takes_steps(self) -> bool:
        """Whether it can do steps of plans."""
        own = self.strategy is not None and not self.strategy.calls_tools
        return self._step is not None or bool(self._tools) or own

    @property
    def compensates(self) -> bool:
        """Whether it can undo its steps."""
        return self._compensation is not None

    @overload
    def tool(self, function: F, /) -> F: ...

    @overload
    def tool(
        self,
        /,
        *,
        name: str | None = None,
        description: str | None = None,
        idempotent: bool = False,
    ) -> Callable[[F], F]: ...

    def tool(
        self,
        function: F | None = None,
        /,
        *,
        name: str | None = None,
        description: str | None = None,
        idempotent: bool = False,
    ) -> F | Callable[[F], F]:
        """Register a tool: a plain or async function with annotations and a docstring.

        A call that a model chose is not repeated when its step is started again, since its answer
        is kept. `idempotent` says that repeating it does no harm: then nothing needs to be kept.

        Raises:
            ConfigError: saying what is wrong with it.
        """

        def register(function: F) -> F:
            tool = Tool(
                function,
                agent=self.name,
                name=name,
                description=description,
                idempotent=idempotent,
            )
            if self._step is not None:
                raise self._both()
            if self.strategy is not None and not self.strategy.calls_tools:
                raise agent_error(
                    f"agent {self.name!r} cannot have tools: its strategy {self.strategy!r} calls "
                    'none; use "react" or "tool-plan", or make two agents of it'
                )
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
        if self.strategy is not None:
            raise agent_error(
                f"agent {self.name!r} has a strategy, {self.strategy!r}, and so no step function; "
                "leave the one or the other out"
            )
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

    def on(
        self,
        *events: str | type[BaseModel],
        retry: RetryPolicy | None = None,
        timeout_s: float | None = TIMEOUT_S,
    ) -> Callable[[F], F]:
        """Register a function that reacts to domain events; what it returns are the next events.

        Args:
            events: types of events, or the models that stand for them.
            retry: how often it is tried again after an error that may pass.
            timeout_s: limit of one try; None: no limit.

        Raises:
            ConfigError: saying what is wrong with it.
        """

        def register(function: F) -> F:
            reaction = ReactionFunction(
                function, agent=self.name, retry=retry or RetryPolicy(), timeout_s=timeout_s
            )
            if not events:
                raise agent_error(f'{reaction.what}: say to what it reacts: @agent.on("…")')
            for event in events:
                self._listen(event, reaction)
            return function

        return register

    def alongside(self, function: A) -> A:
        """Register what an instance on Kafka does beside its steps, from its start to its stop.

        An async function without arguments; it is cancelled at the end. It may return when there is
        no more to do; what it raises ends the process, so it has to bear what may pass.

        Raises:
            ConfigError: it is not async, or takes arguments.
        """
        if not inspect.iscoroutinefunction(function) or inspect.signature(function).parameters:
            raise agent_error(
                f"agent {self.name!r}: @agent.alongside takes an async function without arguments"
            )
        self._alongside.append(function)
        return function

    def _listen(self, event: str | type[BaseModel], reaction: ReactionFunction) -> None:
        name = (
            event_type_of(event) if isinstance(event, type) else checked_type(event, reaction.what)
        )
        if name in self._reactions:
            raise agent_error(
                f"agent {self.name!r} reacts to {name} already, with "
                f"{self._reactions[name].what}; do both in one function, or make a second agent"
            )
        self._reactions[name] = reaction

    def definition(self) -> AgentDefined:
        """Describe the agent for the registry.

        Raises:
            ConfigError: it has neither tools nor a step function, and reacts to nothing.
        """
        if not self.takes_steps and not self._reactions:
            raise agent_error(
                f"agent {self.name!r} can do nothing yet: register a function with "
                "@agent.step, tools with @agent.tool, or a reaction to events with @agent.on, or "
                'give it a strategy without tools, such as strategy="reflection"'
            )
        return AgentDefined(
            agent=self.name,
            description=self.description,
            version=self.version,
            tools=[tool.definition for tool in self._tools.values()],
            takes=getattr(self._step or self.strategy, "takes", None),
            takes_steps=self.takes_steps,
            listens=sorted(self._reactions),
            emits=sorted({name for r in self._reactions.values() for name in r.emits.values()}),
            topics=list(self.topics() if callable(self.topics) else self.topics),
            scales_from_zero=self.scales_from_zero,
            compensates=self.compensates,
            retry=self.retry,
        )

    def _both(self) -> Exception:
        return agent_error(
            f"agent {self.name!r} has both tools and a step function; it is either one function "
            "or a set of tools, so make two agents of it"
        )


def _strategy(given: str | Strategy | None, agent: str) -> Strategy | None:
    if given is None:
        return None
    from .strategies import strategy_of  # noqa: PLC0415 - most agents have none, and it takes time

    return strategy_of(given, agent)
