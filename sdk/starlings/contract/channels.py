"""Which messages lie on which topic, and who writes and reads them.

Names, keys and settings come from `starlings.messages.topics`; only the traffic is said here.
"""

from __future__ import annotations

from dataclasses import dataclass

from starlings.messages import (
    FACTS,
    AgentAlive,
    AgentCooldown,
    AgentDefined,
    AmendmentProposed,
    AmendmentRejected,
    ApprovalGiven,
    ApprovalRequested,
    AttemptCheckpoint,
    CallCheckpoint,
    CancelRequested,
    CompensationAbandoned,
    CompensationDone,
    CompensationReady,
    CompensationScheduled,
    DeadLetterDiscarded,
    DeadLetterRedriven,
    EventHandled,
    Message,
    PauseRequested,
    PlanAmended,
    PlanCreated,
    PlanRejected,
    ReplanReady,
    ReplanRequested,
    ReplanScheduled,
    ResumeRequested,
    RetryRequested,
    RunDone,
    RunForked,
    RunRequested,
    RunSnapshot,
    SignalReceived,
    StepDone,
    StepProgress,
    StepReady,
    StepScheduled,
    StepSkipped,
    StepStarted,
    StopAnnounced,
    StopRequested,
    TimerFired,
    Topics,
    TopicSpec,
    agent_key,
    call_key,
    cooldown_key,
    run_key,
    step_key,
)

COMMANDS = (
    CancelRequested,
    PauseRequested,
    ResumeRequested,
    ReplanRequested,
    RetryRequested,
    ApprovalGiven,
    SignalReceived,
)

REGISTRY = (AgentDefined, AgentAlive, AgentCooldown)
DEAD_LETTERS = "dead_letters"  # any bytes, as they were; and what became of them
DOMAIN_EVENTS = "facts"  # their authors' own JSON
MARKS = (DeadLetterRedriven, DeadLetterDiscarded)

Messages = tuple[type[Message], ...]
_DEFAULT = Topics()
_AGENT = "some-agent"
_EVENT = "some_event"
_VARIABLE = {_AGENT: "{agent}", _EVENT: "{event_type}"}


@dataclass(frozen=True)
class Channel:
    """A topic, or the topics of all agents: where it is, what it holds, and under which keys."""

    name: str
    spec: TopicSpec
    key: str
    messages: Messages

    @property
    def address(self) -> str:
        """Name of the topic with its variable parts in braces, `{prefix}steps.{agent}`."""
        return "{prefix}" + _variable(self.spec.name.removeprefix(_DEFAULT.prefix))

    @property
    def about(self) -> str:
        """What it is for."""
        said = self.spec.description.replace(f"the agent {_AGENT}", "one agent")
        return said.replace(f"the type {_EVENT}", "one type")


def _variable(name: str) -> str:
    for example, variable in _VARIABLE.items():
        name = name.replace(example, variable)
    return name


@dataclass(frozen=True)
class Role:
    """One who takes part: what it reads and writes, by the channel's name."""

    name: str
    about: str
    reads: dict[str, Messages]
    writes: dict[str, Messages]
    group: str | None = None
    group_reads: str | None = None


def _channels() -> list[Channel]:
    specs = {spec.name: spec for spec in _DEFAULT.core_specs()}
    steps, checkpoints = _DEFAULT.agent_specs(_AGENT)
    (domain_events,) = _DEFAULT.event_specs(_EVENT)
    run = run_key("{run_id}").decode()
    agent, instance = agent_key("{agent}").decode(), agent_key("{agent}", "{instance}").decode()
    work = "{run_id}/{step_id}/{attempt}"
    cooldown = cooldown_key("{agent}").decode()
    origin = "{topic}/{partition}/{offset}"
    return [
        Channel("requests", specs[_DEFAULT.requests], run, (RunRequested, ReplanReady)),
        Channel("events", specs[_DEFAULT.events], run, FACTS),
        Channel(
            "steps",
            steps,
            step_key("{run_id}", "{step_id}").decode(),
            (StepReady, CompensationReady),
        ),
        Channel(
            "checkpoints",
            checkpoints,
            f"{work} or {call_key(work, '{call}')}",
            (AttemptCheckpoint, CallCheckpoint),
        ),
        Channel(DOMAIN_EVENTS, domain_events, run_key("{correlation_id}").decode(), ()),
        Channel("control", specs[_DEFAULT.control], run, (StopRequested,)),
        Channel(
            "agents",
            specs[_DEFAULT.agents],
            f"{agent}, {instance} or {cooldown}",
            REGISTRY,
        ),
        Channel(DEAD_LETTERS, specs[_DEFAULT.dead_letters], origin, MARKS),
    ]


CHANNELS: tuple[Channel, ...] = tuple(_channels())

ROLES: tuple[Role, ...] = (
    Role(
        "client",
        "Whoever wants something done: the command line, the Python client, any producer.",
        reads={"events": FACTS, "agents": REGISTRY, DEAD_LETTERS: MARKS},
        writes={
            "requests": (RunRequested,),
            "events": (*COMMANDS, RunForked),
            DOMAIN_EVENTS: (),
            DEAD_LETTERS: MARKS,
        },
    ),
    Role(
        "planner",
        "Turns requests into plans, and plans runs anew.",
        reads={
            "requests": (RunRequested, ReplanReady),
            "agents": REGISTRY,
            DEAD_LETTERS: MARKS,
        },
        writes={"events": (PlanCreated, PlanRejected, AmendmentProposed), DEAD_LETTERS: ()},
        group=_DEFAULT.planner_group,
        group_reads="requests",
    ),
    Role(
        "coordinator",
        "Announces the steps whose dependencies are met.",
        reads={"events": FACTS},
        writes={
            "steps": (StepReady, CompensationReady),
            "requests": (ReplanReady,),
            "control": (StopRequested,),
            "events": (
                ReplanScheduled,
                AmendmentProposed,
                PlanAmended,
                AmendmentRejected,
                StepScheduled,
                StepSkipped,
                StepDone,
                ApprovalRequested,
                CompensationScheduled,
                CompensationDone,
                CompensationAbandoned,
                TimerFired,
                StopAnnounced,
                RunSnapshot,
                RunDone,
            ),
            DEAD_LETTERS: (),
        },
        group=_DEFAULT.coordinator_group,
        group_reads="events",
    ),
    Role(
        "agent",
        "Does the steps of one kind.",
        reads={
            "steps": (StepReady, CompensationReady),
            "checkpoints": (AttemptCheckpoint, CallCheckpoint),
            "control": (StopRequested,),
            "agents": (AgentCooldown,),
        },
        writes={
            "events": (StepStarted, StepProgress, StepDone, CompensationDone),
            "checkpoints": (AttemptCheckpoint, CallCheckpoint),
            "agents": REGISTRY,
            DEAD_LETTERS: (),
        },
        group=_variable(_DEFAULT.agent_group(_AGENT)),
        group_reads="steps",
    ),
    Role(
        "listener",
        "An agent that reacts to domain events; it may be one that does steps, too.",
        reads={DOMAIN_EVENTS: ()},
        writes={
            DOMAIN_EVENTS: (),
            "events": (EventHandled,),
            "agents": (AgentDefined, AgentAlive),
            DEAD_LETTERS: (),
        },
        group=_variable(_DEFAULT.event_group(_AGENT, _EVENT)),
        group_reads=DOMAIN_EVENTS,
    ),
)


def channel_of(model: type[Message]) -> Channel:
    """Find the topic that a message lies on."""
    return next(channel for channel in CHANNELS if model in channel.messages)


def writers_of(model: type[Message]) -> list[str]:
    """Name the roles that write a message."""
    return [r.name for r in ROLES if any(model in found for found in r.writes.values())]


def readers_of(model: type[Message]) -> list[str]:
    """Name the roles that read a message."""
    return [r.name for r in ROLES if any(model in found for found in r.reads.values())]
