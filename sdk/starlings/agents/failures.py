"""How whatever an author's code raised looks on the wire, and in the log."""

from __future__ import annotations

from typing import Any, Protocol

from starlings.messages import ErrorInfo, StarlingsError, error_info

from .values import clean_text


class Logging(Protocol):
    """What an author's code is given: it knows where to log."""

    @property
    def log(self) -> Any:
        """A structlog logger, bound with the ids."""
        ...


def failure(error: BaseException, ctx: Logging, *, what: str = "step failed") -> ErrorInfo:
    """Describe a failure and log it; the author gets the traceback of what nobody foresaw."""
    info = described(error)
    cause = error.__cause__ or error
    bug = None if isinstance(cause, StarlingsError) else cause
    ctx.log.warning(what, code=info.code, error=info.message, exc_info=bug)
    return info


def described(error: BaseException) -> ErrorInfo:
    """Describe a failure in words that can always be sent."""
    try:
        info = error_info(error)
        return info.model_copy(
            update={
                "message": clean_text(info.message),
                "causes": [clean_text(cause) for cause in info.causes],
            }
        )
    except Exception:  # its text cannot be had: an author's class may raise in __str__
        return ErrorInfo(code="unexpected", message=type(error).__name__, retryable=True)
