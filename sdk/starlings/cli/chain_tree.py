"""A chain of events as a tree: every event, who reacted to it, and what followed from that."""

from __future__ import annotations

from rich.text import Text
from rich.tree import Tree

from starlings.choreography import Chain, ChainEvent
from starlings.messages import EventHandled

from .printing import clean
from .spending import usage_text
from .times import duration_text

SHOWN_EVENTS = 200


def chain_tree(chain: Chain, rows: int = SHOWN_EVENTS) -> Tree:
    """Draw the events of a run: each under the reaction that emitted it."""
    count = len(chain.events)
    tree = Tree(Text(f"Events  {count:,}", style="bold"))
    nodes: dict[str, Tree] = {}  # of events; of an emitted one: the reaction that it follows from
    for number, (_, event) in enumerate(chain.walk()):
        if number >= rows:
            tree.add(Text(f"and {count - rows:,} more", style="dim"))
            break
        parent = nodes.get(event.id) or nodes.get(event.causation_id or "") or tree
        node = nodes[event.id] = parent.add(_event_line(event))
        for handled in event.reactions.values():
            below = node.add(reaction_line(handled, with_event=False))
            nodes |= {emitted.id: below for emitted in handled.emitted if emitted.id not in nodes}
    return tree


def _event_line(event: ChainEvent) -> Text:
    line = Text.assemble((event.type, "bold"), "  ", clean(event.summary, 100))
    if not event.reactions:
        line.append("  (nobody has reacted)", style="dim")
    return line


def reaction_line(handled: EventHandled, *, with_event: bool = True) -> Text:
    """Say in one line what an agent did about an event."""
    good = handled.error is None
    line = Text("✓ " if good else "✗ ", style="green" if good else "red")
    line.append(handled.agent, style="cyan")
    if with_event:
        line.append(f"  {handled.event_type}")
        line.append(f" → {', '.join(e.type for e in handled.emitted)}" if handled.emitted else "")
    if handled.error is not None:
        line.append(f"  {handled.error.code}: {clean(handled.error.message, 300)}", style="red")
    if handled.usage is not None:
        line.append(f"  {usage_text(handled.usage)}", style="dim")
    tries = f", {handled.attempts} tries" if handled.attempts > 1 else ""
    return line.append(f"  {duration_text(handled.duration_s)}{tries}", style="dim")
