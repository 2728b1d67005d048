"""What a call cost, by the list prices of known providers.

The prices come with the package genai-prices; nothing is looked up on the network. A provider is
recognised by its address, for a model of the same name costs something else elsewhere. Where the
price is not known the cost is not known, and the call is counted as one without a price: never as
one that cost nothing.
"""

from __future__ import annotations

from decimal import Decimal

import structlog

from starlings.messages.usage import Usage

from .choice import Price
from .endpoint import Endpoint
from .reply import Reply

_MILLION = 10**6
_PLACES = 9

_log = structlog.get_logger(__name__)
_unknown: set[tuple[str, str]] = set()


def with_cost(reply: Reply, endpoint: Endpoint, price: Price | None) -> Reply:
    """Add to a reply what it cost, or that this is not known."""
    cost = _cost(reply, endpoint, price)
    told = (
        {"unpriced_calls": reply.usage.calls}
        if cost is None
        else {"cost_usd": round(float(cost), _PLACES)}
    )
    return reply.model_copy(update={"usage": reply.usage.model_copy(update=told)})


def _cost(reply: Reply, endpoint: Endpoint, price: Price | None) -> Decimal | None:
    if endpoint.offline:
        return Decimal(0)
    usage = reply.usage
    if not reply.counted:
        _say_once(endpoint, "the server does not tell how many tokens were used")
        return None
    if price is not None:
        return (usage.input_tokens * price.input + usage.output_tokens * price.output) / _MILLION
    return _list_price(usage, reply, endpoint)


def _list_price(usage: Usage, reply: Reply, endpoint: Endpoint) -> Decimal | None:
    from genai_prices import Usage as Counts  # noqa: PLC0415 - a table of all prices
    from genai_prices import calc_price  # noqa: PLC0415

    counts = Counts(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=min(reply.cached_tokens, usage.input_tokens),
    )
    for model in dict.fromkeys([usage.model, endpoint.model]):
        try:
            found = calc_price(counts, model or "", provider_api_url=endpoint.public_url)
        except (LookupError, ValueError):
            continue
        return Decimal(found.total_price)
    _say_once(endpoint, "its price is not known; STARLINGS_MODEL_PRICE can say it")
    return None


def _say_once(endpoint: Endpoint, why: str) -> None:
    key = (endpoint.base_url, endpoint.model)
    if key not in _unknown:
        _unknown.add(key)
        _log.info("what a model costs is not told", model=endpoint.description, why=why)
