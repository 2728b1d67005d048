"""A panel that debates: each answers on its own, reads the others, may change; a judge chooses."""

from __future__ import annotations

import os

from starlings import Agent, Debate, ModelChoice

MODELS = os.environ.get("DEBATE_MODELS", "").split()  # of your server; none: one model, three times

panel = Agent(
    "panel",
    description="Weighs questions that have more than one side",
    strategy=Debate(models=MODELS, rounds=2, decide="judge"),
    instructions="Say what to do in one sentence. Think of all who are concerned.",
    model=ModelChoice(temperature=1.0),  # three samples shall not say the same
)
