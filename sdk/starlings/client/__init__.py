"""Asking for runs, watching them and taking their results, from any Python program.

    async with Client() as client:
        run = await client.submit("Calculate 5 factorial")
        async for fact in run.facts():
            ...
        result = await run.result()

A run is watched by reading its one partition of `events`; nothing but Kafka is asked. Any number
of programs can watch a run, also one that somebody else has started: `client.run(run_id)`.
"""

from __future__ import annotations

from starlings.messages import CommandRefused

from .answering import AnswerInvalid
from .client import Client
from .dead_letters import DeadLetters, LetterNotFound
from .handle import RunHandle, RunNotFound, StepNotFound
from .listing import STATUSES, RunSummary
from .redrive import Refused, SentBack
from .view import RunView

__all__ = [
    "STATUSES",
    "AnswerInvalid",
    "Client",
    "CommandRefused",
    "DeadLetters",
    "LetterNotFound",
    "Refused",
    "RunHandle",
    "RunNotFound",
    "RunSummary",
    "RunView",
    "SentBack",
    "StepNotFound",
]
