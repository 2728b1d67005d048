"""Agents that work by strategies, to be run as processes by tests; a model server has the script.

`guide` takes turns with tools that leave lines in `effects.txt` in their working directory; `look`
waits for the file `gate` there. `panel` lets three models vote. `boss` gives work to `guide`, and
to `nobody`, who lives nowhere.
"""

from __future__ import annotations

from awkward import at, note  # its neighbour: this file is run as it stands

from starlings import Agent, Debate, Manager, ReAct, StepContext
from starlings.messages import AgentDefined

guide = Agent("guide", description="Knows birds", strategy=ReAct(max_turns=5))
panel = Agent(
    "panel", description="Votes", strategy=Debate(models=["a-1", "b-2", "c-3"], decide="majority")
)
NOBODY = AgentDefined(agent="nobody", description="Lives nowhere")
boss = Agent("boss", description="Gives work", strategy=Manager(workers=[guide, NOBODY]))


@guide.tool
def ring(bird: str, ctx: StepContext) -> str:
    """Puts a ring on a bird."""
    note(f"ring-{bird}", ctx)
    return f"{bird} has a ring"


@guide.tool
async def look(place: str, ctx: StepContext) -> int:
    """Counts the birds of a place."""
    note(f"look-{place}", ctx)
    await at("gate")
    return 7
