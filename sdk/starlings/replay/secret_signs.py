"""By what a secret is known: the name it stands under, what it looks like, where it came from.

Names are judged by their last words (`db_password`, `accessToken`, `X-Api-Key`), so that counts of
tokens and names of keys stay. What is looked for in texts is chosen such that it takes too much out
rather than too little: what is taken out stands under a name of its own, and can still be compared.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

_OWN_SECRETS = "STARLINGS_SECRET_"
_SHORTEST_SETTING = 8
_FOLDERS = frozenset({"PWD", "OLDPWD"})  # of a shell, which sound like passwords
_WORD_BEGINS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_NO_LETTER = re.compile(r"[^a-z0-9]+")
_LAST_WORDS = re.compile(
    r"(?:^|_)(?:password|passwd|pwd|passphrase|pass|secret|token|api_?key|access_?key|secret_?key"
    r"|private_?key|signing_?key|encryption_?key|auth_?key|authorization|cookie|credentials?"
    r"|connection_string)$"
)


class Sign(NamedTuple):
    """What gives a secret away in a text; the group is what is taken out."""

    kind: str
    pattern: re.Pattern[str]
    group: int | str = "secret"


def _sign(kind: str, pattern: str, flags: int = 0) -> Sign:
    return Sign(kind, re.compile(pattern, flags))


_ANY = r"(?P<secret>[^\s\"',;<>}]{4,})"
SIGNS = (
    _sign(
        "private-key",
        r"-----BEGIN [A-Z ]*PRIVATE KEY-----(?P<secret>(?:(?!-----).)+)"
        r"-----END [A-Z ]*PRIVATE KEY-----",
        re.DOTALL,
    ),
    _sign("address", r"(?<=://)(?:[^:/\s@\"'<>]*:)?(?P<secret>[^:/\s@\"'<>]+)(?=@)"),
    _sign("cookie", r"(?i)\b(?:set-)?cookie[\"']?\s*:\s*[\"']?(?P<secret>[^\r\n\"']{4,})"),
    _sign(
        "header",
        r"(?i)\b(?:(?:proxy-)?authorization|(?:x-)?(?:api|auth)-(?:key|token))[\"']?\s*[:=]\s*[\"']?"
        rf"(?:(?:bearer|basic|token)\s+)?(?!(?:bearer|basic|token)\s){_ANY}",
    ),
    _sign("bearer", r"(?i:\bbearer|\bbasic)\s+(?P<secret>(?=\S*[0-9=])[A-Za-z0-9._~+/=-]{8,})"),
    _sign("jwt", r"\b(?P<secret>eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*)"),
    _sign(
        "key",
        r"\b(?P<secret>(?:(?:sk|pk|rk|gsk|xai|key|hf|npm|pypi|glpat|gh[opsur]|github_pat|xox[abeprs])"
        r"[-_]|AIza)[A-Za-z0-9_-]{16,}|(?:AKIA|ASIA)[0-9A-Z]{16})\b",
    ),
    _sign(
        "assigned",
        r"(?i)(?:password|passwd|pwd|passphrase|secret|token|api[_-]?key"
        rf"|(?:access|private|secret)[_-]?key)[\"']?\s*[:=]\s*[\"']?{_ANY}",
    ),
)


def label_of(name: str) -> str:
    """Write a name with lower-case letters, digits and `-`, as a placeholder says it."""
    words = _WORD_BEGINS.sub("_", name).lower()
    return _NO_LETTER.sub("-", words).strip("-")


def is_secret_name(name: str) -> bool:
    """Tell whether what stands under a name is secret by that."""
    return _LAST_WORDS.search(label_of(name).replace("-", "_")) is not None


def secrets_of_environment(
    environment: Mapping[str, str], *, folder: Path | None = None
) -> dict[str, str]:
    """Collect this process's own secrets, by value: from variables, and from a folder of files."""
    found = {
        value: name.removeprefix(_OWN_SECRETS)
        for name, value in environment.items()
        if (name.startswith(_OWN_SECRETS) or is_secret_name(name))
        and name not in _FOLDERS
        and len(value) >= _SHORTEST_SETTING
    }
    return found | dict(_of_folder(folder) if folder is not None else ())


def _of_folder(folder: Path) -> Iterator[tuple[str, str]]:
    if not folder.is_dir():
        return
    for path in sorted(folder.iterdir()):
        try:
            value = path.read_text(encoding="utf-8").strip() if path.is_file() else ""
        except (OSError, UnicodeDecodeError):
            continue
        if len(value) >= _SHORTEST_SETTING:
            yield value, path.name
