"""The tools of the agent `notify`.

What was sent cannot be unsent. A message may name its `follow_up`: what is sent to the same people
where the run is undone later. Without one there is nothing to undo.
"""

from __future__ import annotations

import hashlib
import html as markup_of
import json
from typing import Annotated, Any

from pydantic import Field, JsonValue

from starlings import Agent, Compensation, Result, StepContext
from starlings.service.settings import load_settings

from .mailing import compose, send
from .posting import post
from .settings import NotifySettings, channel_address, check_recipients

agent = Agent(
    "notify",
    description="Tells people and systems: by Slack, by webhook, by e-mail",
    instructions="Send each message once. Write only what the task asks you to tell.",
)

SLACK_CHARS = 30_000  # Slack cuts at 40,000

Text = Annotated[str, Field(min_length=1, max_length=1_000_000)]
Name = Annotated[str, Field(max_length=100)]
MailAddress = Annotated[
    str, Field(max_length=320, pattern=r"^[^@\s<>,;:\"()\[\]\\]+@[^@\s<>,;:\"()\[\]\\]+$")
]


@agent.tool
async def slack(  # noqa: D417 - what models read
    text: Text,
    ctx: StepContext,
    channel: Name = "",
    formatted: bool = False,  # noqa: FBT001, FBT002 - arguments of tools have names
    follow_up: Text | None = None,
) -> Result:
    """Posts a message to a channel of Slack, or of what takes Slack's webhooks.

    Args:
        text: the message.
        channel: which of the channels that are set up; none where there is one only.
        formatted: whether text is Slack's mrkdwn, with links and mentions; otherwise it is plain.
        follow_up: what to post there if the run is undone later.
    """
    settings = load_settings(NotifySettings)
    name, url = channel_address(settings.slack, channel, "STARLINGS_NOTIFY_SLACK")
    shown = text if formatted else markup_of.escape(text, quote=False)
    if len(shown) > SLACK_CHARS:
        shown = shown[: SLACK_CHARS - 1] + "…"
    key = _key(ctx, "slack", name, text)
    headers = {"idempotency-key": key}
    await post(url, {"text": shown}, name=name, headers=headers, timeout_s=settings.timeout_s)
    args = {"channel": name, "text": follow_up, "formatted": formatted}
    return _sent({"channel": name, "key": key}, f"posted to {name}", "slack", args)


@agent.tool
async def webhook(  # noqa: D417 - what models read
    payload: JsonValue,
    ctx: StepContext,
    channel: Name = "",
    follow_up: JsonValue = None,
) -> Result:
    """Posts JSON to a webhook.

    Args:
        payload: what is posted.
        channel: which of the webhooks that are set up; none where there is one only.
        follow_up: what to post there if the run is undone later.
    """
    settings = load_settings(NotifySettings)
    name, url = channel_address(settings.webhooks, channel, "STARLINGS_NOTIFY_WEBHOOKS")
    key = _key(ctx, "webhook", name, json.dumps(payload, sort_keys=True))
    headers = {"idempotency-key": key}
    await post(url, payload, name=name, headers=headers, timeout_s=settings.timeout_s)
    args = {"channel": name, "payload": follow_up}
    output = {"channel": name, "key": key}
    return _sent(output, f"posted to {name}", "webhook", args if follow_up is not None else {})


@agent.tool
async def email(  # noqa: D417 - what models read
    to: Annotated[list[MailAddress], Field(min_length=1, max_length=50)],
    subject: Annotated[str, Field(min_length=1, max_length=500)],
    text: Text,
    ctx: StepContext,
    html: Text | None = None,
    in_reply_to: Annotated[str, Field(pattern=r"^<[!-;=?-~]{3,250}>$")] | None = None,
    follow_up: Text | None = None,
) -> Result:
    """Sends an e-mail.

    Args:
        to: the addresses.
        subject: its subject.
        text: its text.
        html: the same text as HTML, if at all.
        in_reply_to: the message_id of a mail that it answers.
        follow_up: what to answer to it if the run is undone later.
    """
    settings = load_settings(NotifySettings)
    check_recipients(to, settings.mail_to)
    digest = hashlib.sha256(_key(ctx, "email", *to, subject, text).encode()).hexdigest()[:32]
    mail = compose(
        settings,
        to=to,
        subject=subject,
        text=text,
        html=html,
        message_id=digest,
        in_reply_to=in_reply_to,
    )
    refused = await send(mail, settings)
    sent_to = [address for address in to if address not in refused]
    message_id = str(mail["Message-ID"])
    output = {"message_id": message_id, "to": sent_to, "refused": refused}
    args = {"to": sent_to, "subject": f"Re: {subject}"[:500], "in_reply_to": message_id}
    said = f"mail to {', '.join(sent_to)}"
    return _sent(output, said, "email", {**args, "text": follow_up} if follow_up else {})


def _sent(output: dict[str, Any], said: str, tool: str, follow_up: dict[str, Any]) -> Result:
    told = {name: value for name, value in follow_up.items() if value is not None}
    undo = Compensation(agent=agent.name, tool=tool, args=told) if _says(told) else False
    return Result(output, summary=said[:300], undo=undo)


def _says(follow_up: dict[str, Any]) -> bool:
    return "text" in follow_up or "payload" in follow_up


def _key(ctx: StepContext, *about: str) -> str:
    """Name a message by its step and what it says: a repeat has the same name."""
    digest = hashlib.sha256(json.dumps(about).encode()).hexdigest()[:16]
    return f"{ctx.run_id}/{ctx.step_id}{'/compensation' if ctx.undoes else ''}/{digest}"
