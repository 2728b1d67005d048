"""The strategies that come along; an agent is given one by its word, or as an object.

Agent("guide", description="…", strategy="react")
Agent("guide", description="…", strategy=ReAct(max_turns=20))
"""

from __future__ import annotations

from starlings.agents.signatures import agent_error
from starlings.agents.strategy import Strategy

from .debate import Debate
from .react import ReAct
from .reflection import Reflection
from .review import Review
from .tool_plan import ToolPlan

__all__ = ["Debate", "ReAct", "Reflection", "Review", "Strategy", "ToolPlan", "strategy_of"]

_WORDS: dict[str, type[Strategy]] = {
    "tool-plan": ToolPlan,
    "react": ReAct,
    "reflection": Reflection,
    "debate": Debate,
}


def strategy_of(given: object, agent: str) -> Strategy:
    """Return the strategy that an author named.

    Raises:
        ConfigError: there is none of that word, or it is no strategy at all.
    """
    if isinstance(given, Strategy):
        return given
    if isinstance(given, str) and given.lower().replace("_", "-") in _WORDS:
        return _WORDS[given.lower().replace("_", "-")]()
    raise agent_error(
        f"agent {agent!r}: there is no strategy {given!r}; it is one of {', '.join(_WORDS)}, or an "
        "object such as ReAct(max_turns=8)"
    )
