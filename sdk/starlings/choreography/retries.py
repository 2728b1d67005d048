"""How long to wait before the next try, and where it goes: pure functions of the log.

Chance is drawn from ids, so that it is the same at every reading: a coordinator, its successor and
a replay wait as long, and send a run's steps to the same variants.
"""

from __future__ import annotations

import hashlib

from starlings.messages.errors import ErrorInfo
from starlings.messages.plan import RetryPolicy

from .state import Run, StepState

LONGEST_RETRY_S = 86_400.0  # a provider that asks for more is asked again after a day
UNDO_RETRY = RetryPolicy(attempts=10)  # of compensations that say nothing else
USUAL = "default"  # how `escalate` calls the agent without a variant
RESOURCE_EXHAUSTED = "resource_exhausted"
_ESCALATES = frozenset({RESOURCE_EXHAUSTED, "heartbeat_timeout"})


def chance(text: str) -> float:
    """Draw a number from 0 to 1 by a text; the same text, the same number."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) / 2**64


def wait_s(policy: RetryPolicy, tries: int, error: ErrorInfo, *, draw: str) -> float:
    """Seconds until the next try, after so many: exponential, with a cap and jitter.

    `draw` names what is tried: the jitter is drawn by it. What a provider asks for is kept to.
    """
    pause_s = min(policy.initial_s * policy.factor ** min(tries - 1, 1_000), policy.max_s)
    pause_s *= 1 + policy.jitter * chance(draw)
    return max(pause_s, min(error.retry_after_s or 0, LONGEST_RETRY_S))


def may_retry(policy: RetryPolicy, tries: int, error: ErrorInfo, *, level: int = 0) -> bool:
    """Say whether there is another try after so many that failed."""
    larger = error.code == RESOURCE_EXHAUSTED and level + 1 < len(policy.escalate)
    return tries < policy.attempts and (error.retryable or larger)


def next_level(policy: RetryPolicy, level: int, error: ErrorInfo) -> int:
    """Say which of the escalating variants comes next, after an error."""
    if error.code not in _ESCALATES:
        return level
    return min(level + 1, max(len(policy.escalate) - 1, 0))


def variant_for(run: Run, step: StepState) -> str | None:
    """Say which variant of its agent does a step's next attempt; None: the usual one.

    The same for all steps of a run that go to one agent, unless they escalate.
    """
    escalate = run.retry_policy(step).escalate
    if escalate:
        chosen = escalate[min(step.level, len(escalate) - 1)]
        return None if chosen == USUAL else chosen
    shares = run.options.routing.get(step.spec.agent)
    if not shares:
        return None
    drawn = chance(f"{run.run_id}/{step.spec.agent}")
    for variant, share in sorted(shares.items()):
        if drawn < share:
            return None if variant == USUAL else variant
        drawn -= share
    return None
