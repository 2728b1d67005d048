"""A chain of events as its records tell it: what led to what, and who reacted.

No plan says how a chain goes on, so it has no state and no end; what is known of it is what agents
have said of their reactions. The first record of a reaction counts, except that one that went well
takes the place of one that did not: an event may be given to an agent again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from starlings.messages.domain import EventHandled, EventOutcome


@dataclass(slots=True)
class ChainEvent:
    """An event, and the reactions to it by agent."""

    id: str
    type: str
    causation_id: str | None
    summary: str = ""
    reactions: dict[str, EventHandled] = field(default_factory=dict)


class Chain:
    """The events of one run, in the order in which they became known."""

    def __init__(self) -> None:
        self.events: dict[str, ChainEvent] = {}

    def add(self, handled: EventHandled) -> bool:
        """Take a record in; say whether it tells anything new."""
        event = self._event(
            handled.event_id, handled.event_type, handled.causation_id, handled.summary
        )
        before = event.reactions.get(handled.agent)
        if before is not None and (
            before.outcome is EventOutcome.OK or handled.outcome is EventOutcome.ERROR
        ):
            return False
        event.reactions[handled.agent] = handled
        for emitted in handled.emitted:
            self._event(emitted.id, emitted.type, event.id, emitted.summary)
        return True

    def _event(self, ident: str, kind: str, causation_id: str | None, summary: str) -> ChainEvent:
        return self.events.setdefault(ident, ChainEvent(ident, kind, causation_id, summary))

    def walk(self) -> Iterator[tuple[int, ChainEvent]]:
        """Yield every event once, with its depth: each followed by what it led to."""
        below: dict[str | None, list[ChainEvent]] = {}
        for event in self.events.values():
            cause = event.causation_id if event.causation_id in self.events else None
            below.setdefault(cause, []).append(event)
        # what nobody's event led to comes first; the others only where records contradict
        left = [(0, event) for event in (*below.get(None, []), *self.events.values())]
        left.reverse()
        seen: set[str] = set()
        while left:
            depth, event = left.pop()
            if event.id in seen:
                continue
            seen.add(event.id)
            yield depth, event
            left += [(depth + 1, each) for each in reversed(below.get(event.id, []))]
