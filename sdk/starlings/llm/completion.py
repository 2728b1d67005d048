"""One call of a chat completion: tried again with patience, its troubles put into our words.

One way of trying again: stamina's, with the provider's `Retry-After` in place of our back-off where
it gives one; the client library's own retries are switched off. The error that leaves is one of
`starlings.llm.errors`, never the library's; it carries no chain of causes, since those quote the
server's answer and, with some servers, the API key.
"""

from __future__ import annotations

import asyncio
import math
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import openai
import stamina
import structlog

from starlings.messages.errors import StarlingsError

from . import errors
from .endpoint import Endpoint
from .errors import ModelAway, ModelFailed
from .question import OnText
from .reply import Reply, read_reply
from .settings import LlmSettings
from .streaming import read_stream

_log = structlog.get_logger(__name__)

_SAID_LIMIT = 500
_TRY_AGAIN = frozenset({408, 409, 429})
_SERVER_ERROR = 500


class _TroubleError(Exception):
    """Stands for an error of the client library, whose text may have secrets in it."""

    def __init__(self, text: str, error: Exception) -> None:
        super().__init__(text)
        self.error = error


class Call:
    """One question to one endpoint.

    `hasty` gives up on a plain HTTP 500 after one further try, since the caller has another way of
    asking. `status` is the HTTP status of the last answer that was an error.
    """

    def __init__(
        self,
        client: openai.AsyncOpenAI,
        endpoint: Endpoint,
        settings: LlmSettings,
        *,
        hasty: bool = False,
    ) -> None:
        self._client = client
        self._endpoint = endpoint
        self._settings = settings
        self._hasty = hasty
        self.status: int | None = None
        self._tries = 0
        self._server_errors = 0

    async def send(self, body: dict[str, Any], *, on_text: OnText | None = None) -> Reply:
        """Ask, and try again where that may help; `on_text` is told what a stream brings.

        Raises:
            ModelAway: it may work later.
            ModelFailed: it will not.
        """
        failure: Exception
        try:
            async for attempt in stamina.retry_context(
                on=self._wait_before_retry,
                attempts=self._settings.retries + 1,
                timeout=None,
                wait_initial=self._settings.backoff_s,
                wait_max=self._settings.backoff_max_s,
                wait_jitter=self._settings.backoff_s / 2,
            ):
                with attempt:
                    return await self._send_safely(body, on_text)
        except _TroubleError as trouble:
            failure = self._translate(trouble.error)
        # outside of the except block, so that the library's error is no context of ours
        raise failure

    async def _send_safely(self, body: dict[str, Any], on_text: OnText | None) -> Reply:
        """Send; what goes wrong is told in words without secrets, since stamina logs it."""
        try:
            return await self._send_once(body, on_text)
        except (openai.OpenAIError, TimeoutError) as error:
            raise _TroubleError(self._quote(str(error) or type(error).__name__), error) from None

    async def _send_once(self, body: dict[str, Any], on_text: OnText | None) -> Reply:
        self._tries += 1
        self.status = None
        completions = self._client.chat.completions
        async with asyncio.timeout(self._settings.timeout_s):
            if on_text is None:
                content = (await completions.with_raw_response.create(**body)).content
            else:
                async with completions.with_streaming_response.create(**body) as streamed:
                    content = await read_stream(streamed.iter_bytes(), on_text)
        return read_reply(content, self._endpoint)

    def _wait_before_retry(self, raised: Exception) -> bool | float:
        error = raised.error if isinstance(raised, _TroubleError) else raised
        if isinstance(error, openai.APIStatusError):
            self.status = error.status_code
        if not may_work_later(error):
            return False
        if self._hasty and self.status == _SERVER_ERROR:
            self._server_errors += 1
            if self._server_errors > 1:
                return False
        wait_s = retry_after_s(error)
        if wait_s is not None and wait_s > self._settings.retry_after_max_s:
            return False
        if self._tries <= self._settings.retries:
            said = self._quote(str(error) or type(error).__name__)
            _log.warning("asking the model again", host=self._endpoint.host, error=said)
        return True if wait_s is None else wait_s

    # -- errors in our words -------------------------------------------------------------------

    def _translate(self, error: Exception) -> StarlingsError:
        if isinstance(error, openai.APITimeoutError | TimeoutError):
            return self._timeout()
        if isinstance(error, openai.APIStatusError):
            return self._status_error(error)
        if isinstance(error, openai.APIConnectionError):
            cause = error.__cause__ or error
            return ModelAway(
                f"cannot reach the model at {self._endpoint.host} ({self._tried()}): "
                f"{self._quote(str(cause) or type(cause).__name__)}; "
                "check OPENAI_BASE_URL and the network",
                code=errors.UNAVAILABLE,
            )
        return self._failed(
            f"the model at {self._endpoint.host} could not be asked: {self._quote(str(error))}",
            errors.REQUEST_REFUSED,
            "check OPENAI_BASE_URL and OPENAI_API_KEY",
        )

    def _timeout(self) -> StarlingsError:
        return ModelAway(
            f"no answer from {self._endpoint.model} at {self._endpoint.host} within "
            f"{self._settings.timeout_s:g} s ({self._tried()}); raise STARLINGS_MODEL_TIMEOUT_S "
            "if the model needs longer",
            code=errors.TIMEOUT,
        )

    def _status_error(self, error: openai.APIStatusError) -> StarlingsError:
        status = error.status_code
        said = f"{self._endpoint.host} answered HTTP {status}: {self._said(error)}"
        if status in {401, 403}:
            what = "check OPENAI_API_KEY" if self._endpoint.has_key else "set OPENAI_API_KEY"
            remedy = f"{what} (and OPENAI_BASE_URL, if the key belongs to another provider)"
            return self._failed(said, errors.UNAUTHORIZED, remedy)
        if _quota_exhausted(error):
            remedy = "the account behind OPENAI_API_KEY has no credit left: raise its limit"
            return self._failed(said, errors.QUOTA_EXHAUSTED, remedy)
        if may_work_later(error):
            return ModelAway(
                f"{said} ({self._tried()}); STARLINGS_MODEL_RETRIES sets how often to try",
                code=errors.RATE_LIMITED if status == 429 else errors.UNAVAILABLE,  # noqa: PLR2004
                retry_after_s=retry_after_s(error),
                cooldown=status == 429 or status >= _SERVER_ERROR,  # noqa: PLR2004
            )
        remedy = (
            f"check that STARLINGS_MODEL ({self._endpoint.model!r}) and OPENAI_BASE_URL "
            f"({self._endpoint.host}) name what this server has"
            if status in {404, 405}
            else "the server does not take this request as it is"
        )
        return self._failed(said, errors.REQUEST_REFUSED, remedy)

    def _failed(self, what: str, code: str, remedy: str) -> ModelFailed:
        return ModelFailed(what, code=code, remedy=remedy)

    def _tried(self) -> str:
        return "tried once" if self._tries == 1 else f"tried {self._tries} times"

    def _said(self, error: openai.APIStatusError) -> str:
        body = error.body
        message = body.get("message") if isinstance(body, dict) else body
        text = message if isinstance(message, str) else error.response.text
        return self._quote(" ".join(text.split()) or "(no text)")

    def _quote(self, text: str) -> str:
        text = self._endpoint.safe_to_say(text)
        return text if len(text) <= _SAID_LIMIT else text[:_SAID_LIMIT] + "…"


def may_work_later(error: Exception) -> bool:
    """Tell whether the same call may succeed on another try."""
    if isinstance(error, openai.APIStatusError):
        status = error.status_code
        return (status in _TRY_AGAIN or status >= _SERVER_ERROR) and not _quota_exhausted(error)
    return isinstance(error, openai.APIConnectionError | TimeoutError | ModelAway)


def retry_after_s(error: Exception) -> float | None:
    """Read how long a server asks us to wait; None where it does not say so.

    Source: RFC 9110, section 10.2.3 (seconds or a date); `retry-after-ms` is OpenAI's own.
    """
    if not isinstance(error, openai.APIStatusError):
        return None
    headers = error.response.headers
    wait_s = _seconds(headers.get("retry-after-ms"), unit=1000)
    if wait_s is None:
        wait_s = _seconds(headers.get("retry-after"))
    if wait_s is None:
        wait_s = _until(headers.get("retry-after"))
    return wait_s


def _seconds(value: str | None, *, unit: int = 1) -> float | None:
    try:
        number = float(value) / unit if value else math.nan
    except ValueError:
        return None
    return max(number, 0.0) if math.isfinite(number) else None


def _until(value: str | None) -> float | None:
    try:
        moment = parsedate_to_datetime(value) if value else None
    except ValueError:
        return None
    if moment is None:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max((moment - datetime.now(UTC)).total_seconds(), 0.0)


def _quota_exhausted(error: openai.APIStatusError) -> bool:
    return error.code == "insufficient_quota"
