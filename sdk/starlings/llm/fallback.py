"""Several models in order: the next one is asked where those before it cannot be.

Cannot be asked: an outage, a timeout, too many requests, an open circuit, an account without
credit. A refusal of the request, a wrong key or a bad answer is not passed on: the next model would
hide what has to be mended.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from . import errors
from .errors import ModelAway, ModelFailed
from .provider import Provider
from .question import Question
from .reply import Reply

_log = structlog.get_logger(__name__)


async def ask_first(providers: Sequence[Provider], question: Question) -> Reply:
    """Ask the first provider that can be asked.

    Raises:
        ModelAway: none can be asked now.
        ModelFailed: the one that was asked refuses, or no account has credit.
    """
    failures: list[ModelAway | ModelFailed] = []
    for provider in providers:
        try:
            reply = await provider.ask(question)
        except (ModelAway, ModelFailed) as error:
            if isinstance(error, ModelFailed) and error.code != errors.QUOTA_EXHAUSTED:
                raise
            failures.append(error)
            continue
        if failures:
            _log.warning(
                "another model was asked instead",
                model=provider.endpoint.description,
                why=str(failures[0]),
            )
        return reply
    raise failures[0] if len(failures) == 1 else _all_failed(failures)


def _all_failed(failures: list[ModelAway | ModelFailed]) -> ModelAway | ModelFailed:
    away = [error for error in failures if isinstance(error, ModelAway)]
    if not away:
        return failures[0]
    waits = [error.retry_after_s for error in away if error.retry_after_s is not None]
    return ModelAway(
        "no model of the list can be asked: " + "; ".join(str(error) for error in failures),
        code=away[0].code,
        retry_after_s=min(waits) if waits else None,
        cooldown=all(error.cooldown for error in away),
    )
