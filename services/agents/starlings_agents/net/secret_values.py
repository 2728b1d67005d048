"""Secrets by name: filled in at the last moment, and taken out of whatever comes back.

A plan says `{{secret:NAME}}`; plans, results and logs never hold a value. A value comes from the
variable `STARLINGS_SECRET_<NAME>` or from the file `<STARLINGS_SECRETS_FOLDER>/<NAME>`, and goes
only to the origins that `STARLINGS_SECRET_ORIGINS` lists for it: else whoever writes a plan, or a
page that misleads a model, could send it anywhere.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from pydantic import Field, JsonValue
from pydantic_settings import SettingsConfigDict

from starlings import StepFailed
from starlings.messages import StarlingsError
from starlings.secret_forms import forms_of
from starlings.service.settings import load_settings
from starlings_agents.own_settings import OwnSettings

PLACEHOLDER = re.compile(r"\{\{\s*secret:([A-Za-z][A-Za-z0-9_]{0,62})\s*\}\}")
SHORTEST = 8

_VARIABLE = "STARLINGS_SECRET_"


class SecretSettings(OwnSettings):
    """Where secrets lie, and where they may go."""

    model_config = SettingsConfigDict(env_prefix="STARLINGS_")

    secrets_folder: Path | None = Field(
        default=None, description="a folder with a file per secret, named as the secret is"
    )
    secret_origins: dict[str, list[str]] = Field(
        default_factory=dict,
        description='which secret may go where, as in {"GITHUB": ["https://api.github.com"]}',
    )


class Redactor:
    """Takes values that are secret out of texts, however they are commonly written."""

    def __init__(self) -> None:
        self._forms: dict[str, str] = {}

    def add(self, name: str, value: str) -> None:
        """Take this value out from now on."""
        shown = f"[secret {name}]"
        self._forms |= dict.fromkeys(forms_of(value), shown)
        self._forms = dict(sorted(self._forms.items(), key=lambda form: -len(form[0])))

    def text(self, text: str) -> str:
        """Return a text without the secrets."""
        for form, shown in self._forms.items():
            text = text.replace(form, shown)
        return text

    def value(self, value: JsonValue) -> JsonValue:
        """Return JSON without the secrets, those in names and numbers too."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(name): self.value(inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [self.value(inner) for inner in value]
        if isinstance(value, int | float) and self.text(str(value)) != str(value):
            return self.text(str(value))
        return value

    def data(self, data: bytes) -> bytes:
        """Return bytes without the secrets."""
        for form, shown in self._forms.items():
            data = data.replace(form.encode(), shown.encode())
        return data

    def error(self, error: Exception) -> StarlingsError:
        """Return an error that says the same without the secrets, and hides nothing behind it."""
        if not isinstance(error, StarlingsError):
            said = self.text(f"{type(error).__name__}: {error}")
            return StepFailed(said, code="unexpected", retryable=True)
        return type(error)(
            self.text(str(error)),
            code=error.code,
            retryable=error.retryable,
            retry_after_s=error.retry_after_s,
            cooldown=error.cooldown,
        )


class Secrets:
    """The secrets that one request uses."""

    def __init__(self, redactor: Redactor) -> None:
        self._settings = load_settings(SecretSettings)
        self._redactor = redactor
        self._values: dict[str, str] = {}

    def fill(self, text: str) -> str:
        """Replace `{{secret:NAME}}` by the values.

        Raises:
            StepFailed: `secret_unknown` or `secret_unusable`.
        """
        return PLACEHOLDER.sub(lambda found: self._value(found[1]), text)

    def check_origin(self, origin: str) -> None:
        """Look whether all secrets that were filled in may go to an origin.

        Raises:
            StepFailed: `secret_forbidden`.
        """
        for name in self._values:
            allowed = self._settings.secret_origins.get(name, [])
            if origin not in {one.rstrip("/").lower() for one in allowed}:
                raise StepFailed(
                    f"the secret {name} may not go to {origin}; name the origin in "
                    f"STARLINGS_SECRET_ORIGINS if it shall: {_origins_example(name, origin)}",
                    code="secret_forbidden",
                )

    def _value(self, name: str) -> str:
        if name not in self._values:
            value = _read(name, self._settings.secrets_folder)
            if len(value) < SHORTEST or not value.isprintable():
                raise StepFailed(
                    f"the secret {name} cannot be used: it has fewer than {SHORTEST} characters, "
                    "or a line end within it, so it could not be kept out of logs reliably",
                    code="secret_unusable",
                )
            self._redactor.add(name, value)
            self._values[name] = value
        return self._values[name]


def _origins_example(name: str, origin: str) -> str:
    return json.dumps({name: [origin]})


def _read(name: str, folder: Path | None) -> str:
    value = os.environ.get(f"{_VARIABLE}{name}")
    if value is None and folder is not None:
        try:
            value = (folder / name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            value = None
    if value:
        return value.strip()
    raise StepFailed(
        f"there is no secret {name}; set {_VARIABLE}{name}, or put a file {name} into "
        "STARLINGS_SECRETS_FOLDER",
        code="secret_unknown",
    )
