"""When a dead letter may be sent back, and what to do where it may not.

Rules, in the order in which they are asked:

- A message goes back to where work, requests, facts and events lie, and nowhere else.
- What its consumer could not read this time either would be buried again: mend it, or discard it.
- A step that could not be undone is not a matter of one message: `starlings retry` goes on with it.
- What was sent back or discarded before needs a second thought (`again`).
- What nobody waits for any more would be done for nothing (`force`): the run has ended, or another
  attempt has taken its place; a request's run has been rejected under its id.

Facts are appended to `events` anew. That is safe, since a fold ignores what it has seen, and it is
of use only where the coordinator could not read them the first time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from starlings.choreography.transitions import OUT
from starlings.kafka.letters import Letter, LetterState
from starlings.messages import (
    CompensationAbandoned,
    CompensationReady,
    Headers,
    Message,
    Origin,
    RunRequested,
    StepReady,
    Topics,
    UndecodableMessage,
)

from .view import RunView

_UNDOING = (CompensationReady.CE_TYPE, CompensationAbandoned.CE_TYPE)
_GONE = ("blob_gone", "blob_changed", "blob_elsewhere")


@dataclass(frozen=True, slots=True)
class Content:
    """What a dead letter holds: the value as it was, and the message where it can be read."""

    key: bytes | None
    headers: Headers
    value: bytes | None
    message: Message | None = None
    problem: UndecodableMessage | None = None


@dataclass(frozen=True, slots=True)
class SentBack:
    """A message that lies on its topic again."""

    letter: Letter
    to: Origin
    count: int


@dataclass(frozen=True, slots=True)
class Refused:
    """A message that was not sent back, and why."""

    letter: Letter
    code: str
    why: str


def default_model(topic: str, topics: Topics) -> type[Message] | None:
    """Say what a message without a type is, on the topic where it lay."""
    if topic == topics.requests:
        return RunRequested
    return StepReady if topics.agent_of(topic) is not None else None


def refuse_by_nature(letter: Letter, content: Content, topics: Topics) -> Refused | None:
    """Refuse what must not, or cannot, be sent back at all."""
    topic = letter.origin.topic
    if _is_undoing(letter):
        return Refused(letter, "compensation", _undo_again(letter, topics))
    if not _takes_redrives(topic, topics):
        why = f"messages are sent back to requests, events, steps and facts only, not to {topic}"
        return Refused(letter, "foreign_topic", why)
    problem = content.problem
    if problem is not None and problem.code in _GONE:
        why = f"its value lay in the blob store: {problem}. Bring it back first, or discard it"
        return Refused(letter, problem.code, why)
    if problem is not None and _is_read_by_us(topic, topics):
        why = f"it cannot be read now either, and would be buried again: {problem}"
        return Refused(letter, problem.code, why)
    if content.message is None and _is_read_by_us(topic, topics):
        why = f"this version knows no {letter.type or 'such message'}: redrive it with a newer one"
        return Refused(letter, "unknown_type", why)
    return None


def refuse_by_state(letter: Letter, *, again: bool) -> Refused | None:
    """Refuse what somebody has decided about already, unless it is to be done again."""
    if letter.state is LetterState.OPEN or again:
        return None
    marks = letter.redriven if letter.state is LetterState.REDRIVEN else letter.discarded
    mark = marks.get(letter.redrives)
    by = f" by {mark.by}" if mark and mark.by else ""
    to = f" to {mark.to}" if mark and mark.to else ""
    why = f"it was {letter.state} before{by}{to}; --again does it all the same"
    return Refused(letter, f"already_{letter.state}", why)


def refuse_by_run(
    letter: Letter, content: Content, views: Mapping[str, RunView], topics: Topics
) -> Refused | None:
    """Refuse what nobody waits for any more."""
    message = content.message
    if isinstance(message, RunRequested) and letter.origin.topic == topics.requests:
        why = _no_use_to_ask(message.run_id or letter.run_id(topics), views)
    elif isinstance(message, StepReady):
        why = _no_use_to_do(message, views.get(message.run_id))
    else:
        return None
    return Refused(letter, "not_awaited", f"{why} (--force sends it all the same)") if why else None


def _no_use_to_ask(run_id: str, views: Mapping[str, RunView]) -> str | None:
    view = views.get(run_id)
    if view is None or not view.facts:
        return None
    return (
        f"run {run_id} is {view.status}, and a request under its id is answered with that: "
        "ask again under a new id"
    )


def _no_use_to_do(ready: StepReady, view: RunView | None) -> str | None:
    what = f"step {ready.step_id} of run {ready.run_id}"
    if view is None or not view.facts:
        return f"{what}: the log knows no such run any more"
    if view.done is not None:
        return f"{what}: the run has ended ({view.status}); nobody waits for it"
    step = view.run.steps.get(ready.step_id) if view.run is not None else None
    if step is None:
        return f"{what}: the run has no such step"
    if step.attempt != ready.attempt or step.phase not in OUT:
        return f"{what}: nobody waits for attempt {ready.attempt}, the step is {step.phase.value}"
    return None


def _is_undoing(letter: Letter) -> bool:
    return letter.type in _UNDOING or letter.last.code.startswith(CompensationAbandoned.NAME)


def _takes_redrives(topic: str, topics: Topics) -> bool:
    """Tell whether what is appended again does no harm; a compacted topic would forget newer."""
    return _is_read_by_us(topic, topics) or topic.startswith(f"{topics.prefix}facts.")


def _is_read_by_us(topic: str, topics: Topics) -> bool:
    """Tell the topics whose messages are all in the contract from those of domain events."""
    return topic in (topics.requests, topics.events) or topics.agent_of(topic) is not None


def advice(letter: Letter, topics: Topics) -> str:
    """Say what to do about a dead letter."""
    if letter.state is not LetterState.OPEN:
        return f"nothing: it was {letter.state}"
    name = letter.id.removeprefix(topics.prefix)
    if _is_undoing(letter):
        undo = _undo_again(letter, topics)
        return f"{undo}; when it is undone, `starlings dlq discard {name} --reason …`"
    if not _takes_redrives(letter.origin.topic, topics):
        return f"look at it, then `starlings dlq discard {name} --reason …`"
    discard = f"`starlings dlq discard {name} --reason …`"
    redrive = f"`starlings dlq redrive {name}`"
    if letter.last.code in _GONE:
        return f"its value is gone from the blob store: bring it back and {redrive}, or {discard}"
    return _advice_by_topic(letter, topics, redrive, discard)


def _undo_again(letter: Letter, topics: Topics) -> str:
    run_id = letter.run_id(topics) or "RUN"
    step = letter.last.key.decode(errors="replace").partition("/")[2] or "STEP"
    return (
        "a step could not be undone; mend the cause, then "
        f"`starlings retry {run_id} --compensation {step}`"
    )


def _advice_by_topic(letter: Letter, topics: Topics, redrive: str, discard: str) -> str:
    topic = letter.origin.topic
    if topic == topics.requests and letter.run_id(topics):
        return f"its run was rejected: ask again under a new id, then {discard}"
    if topic != topics.events:
        return f"mend the cause, then {redrive}; if it is not worth that, {discard}"
    if letter.last.code == "invariant_broken":
        return (
            "its run is parked: deploy a version that can read it and restart the coordinator, "
            f"which takes the run up again by itself; then {discard}"
        )
    return (
        f"where the cause is mended (a newer version, a blob store that is back), {redrive} "
        f"appends the fact again, and a fold ignores what it has seen before; else {discard}"
    )
