"""Secrets out of what is handed on, such that it can still be compared.

The same secret always becomes the same placeholder, `redacted-api-key-3`, wherever it stands and
however it is written there. A placeholder is a valid name of anything, so that what was a message
stays one. First everything is looked at (`learn`), then everything is written (`value`, `text`,
`data`): what one record gives away as a secret is taken out of the others as well.

Names by which a run's records are known (its id, its steps and agents) and words of the protocol
stay. Short secrets, and such as are everyday words, are taken out where they stand alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from pydantic import JsonValue

from starlings import messages
from starlings.messages import MESSAGES, ConfigError
from starlings.secret_forms import forms_of

from .secret_signs import SIGNS, Sign, is_secret_name, label_of

LABEL_LIMIT = 40
_EVERYWHERE = 8  # characters: shorter ones are taken out where they stand alone
_ALONE = 4
_OF_ANY_CONTENT = 20
_LONGEST = 8_192  # longer ones are taken out where they were found
_TEMPLATE = re.compile(r"(\{\{[^{}]{1,300}\}\})")
_TAKEN_OUT = re.compile(r"redacted-[a-z0-9-]+-\d+|\*{3,}|\[secret \w+\]?")
_WORDS = frozenset(
    str(member)
    for kind in vars(messages).values()
    if isinstance(kind, type) and issubclass(kind, StrEnum)
    for member in kind
) | frozenset(MESSAGES)


@dataclass(slots=True)
class Taken:
    """What was taken out under one placeholder, without saying it."""

    placeholder: str
    times: int = 0
    first: str = ""


class Redaction:
    """Takes secrets out of the records of one file.

    Args:
        known: secrets that are known beforehand, with what they are called.
        patterns: of the caller's own; a group, where there is one, is what is taken out.
        keep: names of fields whose content stays.
        names: by which records are known; they stay.
    """

    def __init__(
        self,
        *,
        known: Mapping[str, str] | None = None,
        patterns: Sequence[str] = (),
        keep: Collection[str] = (),
        names: Collection[str] = (),
    ) -> None:
        self._names = frozenset(names) | _WORDS
        self._keep = frozenset(keep)
        self._signs = (*(own_sign(each, names) for each in patterns), *SIGNS)
        self._labels: dict[str, str] = {}  # of secrets, in the order in which they were met
        self._taken: dict[str, Taken] = {}  # by secret
        self._forms: dict[str, str] = {}  # how each may be written: the secret
        self._any_form: re.Pattern[str] | None = None
        self._where = ""
        self._labels.update(known or {})

    @property
    def taken(self) -> list[Taken]:
        """List what was taken out, in the order in which it was met."""
        return list(self._taken.values())

    def learn(self, value: JsonValue | bytes) -> None:
        """Look at something for secrets, before anything is written."""
        if isinstance(value, bytes):
            self.data(value)
        else:
            self.value(value)

    def learnt(self) -> None:
        """Begin to write: from now on what was learnt is taken out, and counted."""
        for secret in self._labels:
            if self._is_telling(secret):
                self._forms = dict.fromkeys(forms_of(secret), secret) | self._forms
        by_length = sorted(self._forms, key=len, reverse=True)
        self._any_form = re.compile("|".join(map(re.escape, by_length))) if by_length else None
        self._taken.clear()

    def at(self, where: str) -> None:
        """Say what is written next, for the report."""
        self._where = where

    def value(self, value: JsonValue, *, under: str | None = None) -> JsonValue:
        """Return JSON without secrets; `under` is the secret name that it stands under."""
        if isinstance(value, str):
            return self._string(value, under)
        if isinstance(value, dict):
            if under is not None and _is_schema(value):
                under = None
            return {
                self.text(k): self.value(v, under=self._under(k, under)) for k, v in value.items()
            }
        if isinstance(value, list):
            return [self.value(inner, under=under) for inner in value]
        if isinstance(value, int | float) and not isinstance(value, bool):
            return self._number(value, under)
        return value

    def text(self, text: str) -> str:
        """Return a text without secrets; templates in it stay."""
        if "{{" not in text:
            return self._plain(text)
        pieces = _TEMPLATE.split(text)
        return "".join(p if number % 2 else self._plain(p) for number, p in enumerate(pieces))

    def data(self, data: bytes) -> bytes:
        """Return bytes without secrets; what is no text is searched for known ones only."""
        try:
            return self.text(data.decode()).encode()
        except UnicodeDecodeError:
            text = data.decode("latin-1")
            return self._without_forms(text).encode("latin-1")

    # -- one value -----------------------------------------------------------------------------

    def _under(self, name: str, under: str | None) -> str | None:
        if name in self._keep:
            return None
        return label_of(name) if under is None and is_secret_name(name) else under

    def _string(self, value: str, under: str | None) -> str:
        alone = value.strip()
        if alone in self._labels and self._may_go(alone):
            return self._take(alone)
        if under is None or not alone or "{{" in value or _TAKEN_OUT.search(value):
            return self.text(value)
        return value if alone in self._names else self._take(alone, under)

    def _number(self, value: float, under: str | None) -> JsonValue:
        alone = str(value)
        if (under is not None and len(alone) >= _ALONE) or alone in self._labels:
            return self._take(alone, under or "number")
        return value

    def _plain(self, text: str) -> str:
        text = self._without_forms(text)
        for sign in self._signs:
            text = sign.pattern.sub(self._by(sign), text)
        return text

    def _by(self, sign: Sign) -> Callable[[re.Match[str]], str]:
        def replaced(found: re.Match[str]) -> str:
            secret = found[sign.group]
            if not secret or secret in self._names or _TAKEN_OUT.search(secret):
                return found[0]
            begin, end = (place - found.start() for place in found.span(sign.group))
            return f"{found[0][:begin]}{self._take(secret, sign.kind)}{found[0][end:]}"

        return replaced

    def _without_forms(self, text: str) -> str:
        if self._any_form is None:
            return text
        return self._any_form.sub(lambda found: self._take(self._forms[found[0]]), text)

    def _take(self, secret: str, label: str = "") -> str:
        """Take a secret out once; return what stands in its place."""
        slug = label_of(self._labels.setdefault(secret, label))[:LABEL_LIMIT].strip("-") or "value"
        taken = self._taken.get(secret)
        if taken is None:
            name = f"redacted-{slug}-{len(self._taken) + 1}"
            taken = self._taken[secret] = Taken(name, first=self._where)
        taken.times += 1
        return taken.placeholder

    def _may_go(self, secret: str) -> bool:
        return len(secret) >= _ALONE and secret not in self._names

    def _is_telling(self, secret: str) -> bool:
        """Whether a secret can be told from everyday words, so that it is taken out of texts."""
        if not _EVERYWHERE <= len(secret) <= _LONGEST or secret in self._names:
            return False
        return not secret.isalpha() or len(secret) >= _OF_ANY_CONTENT


def own_sign(pattern: str, names: Collection[str]) -> Sign:
    """Read a pattern of the caller's own; its first group, where it has one, is the secret.

    Raises:
        ConfigError: it is no pattern, it fits nothing, or it takes out by what records are known.
    """
    try:
        made = re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"--redact {pattern!r} is no regular expression: {error}") from None
    if made.search("") is not None:
        raise ConfigError(f"--redact {pattern!r} also fits where nothing is; make it narrower")
    hit = next((name for name in sorted(names) if made.search(name)), None)
    if hit is not None:
        raise ConfigError(
            f"--redact {pattern!r} fits {hit!r}, a name by which the run's records are known; "
            "make it narrower, so that it fits only what is secret"
        )
    return Sign("own", made, 1 if made.groups else 0)


def _is_schema(value: Mapping[str, JsonValue]) -> bool:
    """Whether an object describes values rather than holding one: a JSON Schema."""
    return isinstance(value.get("type"), str) or any(key in value for key in ("$ref", "anyOf"))
