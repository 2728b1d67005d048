"""What can go wrong with a model, as codes that readers branch on.

Transient troubles are a `ModelAway`, a `TransientError` with one of the codes below
(`model_rate_limited`, `model_unavailable`, `model_timeout`, `model_circuit_open`), for the caller
to try again later. All others are a `ModelFailed`: trying again changes nothing, somebody has to
mend something, and `remedy` says what. Both carry what was used before they were met.
"""

from __future__ import annotations

from collections.abc import Sequence

from starlings.messages.errors import StepFailed, TransientError
from starlings.messages.usage import Usage

UNAUTHORIZED = "model_unauthorized"
QUOTA_EXHAUSTED = "model_quota_exhausted"
REQUEST_REFUSED = "model_request_refused"
BAD_RESPONSE = "model_bad_response"
OUTPUT_TRUNCATED = "model_output_truncated"
OUTPUT_INVALID = "model_output_invalid"
REFUSED = "model_refused"
NOT_RECORDED = "model_not_recorded"
NOT_ALLOWED = "model_not_allowed"

RATE_LIMITED = "model_rate_limited"
UNAVAILABLE = "model_unavailable"
TIMEOUT = "model_timeout"
CIRCUIT_OPEN = "model_circuit_open"


class ModelAway(TransientError):  # noqa: N818 - said of the model
    """A model cannot be asked now; another try may go well."""

    usage: Usage | None = None


class ModelFailed(StepFailed):
    """A model did not give a usable answer, and would not on another try either."""

    def __init__(
        self,
        message: str,
        *,
        code: str,
        remedy: str,
        problems: Sequence[str] = (),
        usage: Usage | None = None,
    ) -> None:
        super().__init__(f"{message}; {remedy}", code=code)
        self.what = message
        self.remedy = remedy
        self.problems = list(problems)
        self.usage = usage
