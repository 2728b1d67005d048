"""Who may be told, and through whom: an operator says it, so that no plan and no model can.

Channels have names; their addresses, which are secrets, stand in the settings alone. E-mail goes
only to the addresses and domains that are listed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, TypeAdapter, ValidationError
from pydantic_settings import SettingsConfigDict

from starlings import StepFailed
from starlings.messages import ConfigError
from starlings_agents.own_settings import OwnSettings


class NotifySettings(OwnSettings):
    """Channels, and the mail server."""

    model_config = SettingsConfigDict(env_prefix="STARLINGS_NOTIFY_")

    slack: SecretStr | None = Field(
        default=None,
        description='JSON: incoming webhooks by channel, {"ops": "https://hooks.slack.com/…"}',
    )
    webhooks: SecretStr | None = Field(
        default=None, description='JSON: other webhooks by name, {"billing": "https://…"}'
    )
    timeout_s: float = Field(
        default=20.0, gt=0, le=600, description="seconds for a message to be taken"
    )
    smtp_host: str | None = Field(default=None, description="the mail server")
    smtp_port: int = Field(default=587, ge=1, le=65_535, description="its port")
    smtp_tls: Literal["starttls", "tls", "off"] = Field(
        default="starttls",
        description="starttls (port 587), tls (port 465), or off, for a server on this machine",
    )
    smtp_ca_file: Path | None = Field(
        default=None, description="authorities (PEM) that sign for it, beside the usual ones"
    )
    smtp_user: str | None = Field(default=None, description="who logs in there; nobody by default")
    smtp_password: SecretStr | None = Field(default=None, description="the password of that user")
    mail_from: str | None = Field(
        default=None, pattern=r"^[^@\s<>]+@[^@\s<>]+$", description="the sender's address"
    )
    mail_to: str = Field(
        default="",
        description="who may get mail, addresses and domains: ann@example.org,@example.com",
    )


def channel_address(channels: SecretStr | None, name: str, setting: str) -> tuple[str, str]:
    """Find a channel: its name and its address. Where there is one only, it need not be named.

    Raises:
        StepFailed: `unknown_channel`.
        ConfigError: the setting cannot be read.
    """
    known = _read(channels, setting)
    name = name or (next(iter(known)) if len(known) == 1 else "")
    if name in known:
        return name, known[name]
    there = f"there are {', '.join(sorted(known))}" if known else "there is none"
    raise StepFailed(
        f"there is no channel {name!r} in {setting}; {there}"
        if name
        else f"name a channel of {setting}; {there}",
        code="unknown_channel",
    )


def _read(channels: SecretStr | None, setting: str) -> Mapping[str, str]:

    if channels is None:
        return {}
    try:
        known = TypeAdapter(dict[str, str]).validate_json(channels.get_secret_value())
    except ValidationError:
        known = {"": ""}
    if all(url.startswith(("http://", "https://")) for url in known.values()):
        return known
    raise ConfigError(
        f'{setting} is wrong: it takes JSON with an http(s) address for each name, {{"ops": "…"}}'
    )


def check_recipients(to: list[str], allowed: str) -> None:
    """Look whether all may get mail.

    Raises:
        StepFailed: `recipient_forbidden`.
    """
    listed = {one.strip().lower() for one in allowed.split(",") if one.strip()}
    for address in to:
        name, _, domain = address.lower().rpartition("@")
        if f"{name}@{domain}" not in listed and f"@{domain}" not in listed:
            raise StepFailed(
                f"{address} may get no mail from here; STARLINGS_NOTIFY_MAIL_TO lists the "
                "addresses and @domains that may",
                code="recipient_forbidden",
            )
