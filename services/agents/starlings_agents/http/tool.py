"""The one tool of the agent `http`."""

from __future__ import annotations

import hashlib
from typing import Annotated

from pydantic import Field, JsonValue

from starlings import Agent, Result, StepContext
from starlings.messages import StarlingsError
from starlings.service.settings import load_settings
from starlings_agents.net.addresses import FetchSettings, policy_of
from starlings_agents.net.fetching import fetch, limits_of, origin_of
from starlings_agents.net.secret_values import Redactor, Secrets

from .answer import result_of
from .call import Call, Method, Scalar

agent = Agent(
    "http",
    description="Calls an HTTP API and hands back what it answered",
    instructions="Write a secret as {{secret:NAME}}, only where its name was given to you. Put "
    "what earlier steps found into `path`, `query` or `body`, never into the address itself.",
)

Status = Annotated[int, Field(ge=100, le=599)]


@agent.tool
async def request(  # noqa: D417, PLR0917 - what models read and name
    url: Annotated[str, Field(min_length=1, max_length=8_000)],
    ctx: StepContext,
    method: Method = "GET",
    path: dict[str, Scalar] | None = None,
    query: dict[str, Scalar | list[Scalar]] | None = None,
    headers: dict[str, str] | None = None,
    body: JsonValue = None,
    form: dict[str, Scalar] | None = None,
    also_ok: list[Status] | None = None,
    secrets_in_body: bool = False,  # noqa: FBT001, FBT002 - as above
) -> Result:
    """Calls an HTTP API: an answer of 2xx is handed back, another one is an error.

    Args:
        url: the address, http or https; {name} in it stands for a value of path.
        method: what to do there.
        path: values for {name} in the address.
        query: values for the address's query.
        headers: headers of the request; {{secret:NAME}} in one stands for a secret.
        body: what is sent: text as it is, everything else as JSON.
        form: what is sent instead of a body, as a web form.
        also_ok: statuses that are no error either, such as 404.
        secrets_in_body: whether {{secret:NAME}} stands for a secret in body and form too.
    """
    call = Call(
        url=url,
        method=method,
        path=path or {},
        query=query or {},
        headers=headers or {},
        body=body,
        form=form,
        secrets_in_body=secrets_in_body,
    )
    redactor = Redactor()
    failure: StarlingsError
    try:
        return await _make(call, redactor, key=_key(ctx, call), also_ok=also_ok or [])
    except Exception as error:
        failure = redactor.error(error)
    raise failure  # out here, so that the error behind it, whose text may quote a secret, is gone


async def _make(call: Call, redactor: Redactor, *, key: str, also_ok: list[int]) -> Result:
    settings = load_settings(FetchSettings)
    secrets = Secrets(redactor)
    asked = call.asked(secrets, key)
    answer = await fetch(
        asked,
        policy=policy_of(settings),
        limits=limits_of(settings),
        may_go_to=lambda url: secrets.check_origin(origin_of(url)),
    )
    return result_of(answer, redactor, method=call.method, also_ok=also_ok)


def _key(ctx: StepContext, call: Call) -> str:
    """Name the call, not the attempt: a server that made it, but was not heard, shall know it."""
    asked = hashlib.sha256(repr(call).encode()).hexdigest()[:16]
    return f"{ctx.run_id}/{ctx.step_id}{'/compensation' if ctx.undoes else ''}/{asked}"
