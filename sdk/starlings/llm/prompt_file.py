"""Prompts in files, with a version; which one made a result stands in its facts.

A file begins with its version between two lines of dashes; the rest is the prompt:

    ---
    version: 3
    ---
    You write for birdwatchers.

`{{name}}` stands for what is filled in when the prompt is used. What a fact tells is the `stamp` of
the prompt as it was sent: name, version, and the beginning of its SHA-256. So whoever changes the
words, or the tools that are listed in them, sees it in the facts even without a new version.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

from starlings.messages.errors import ConfigError

OWN = "own"  # stands for prompts that are written in code
_FILE = re.compile(r"---\nversion: *([\w.-]{1,32})\n---\n(.*)", re.DOTALL)
_NAME = re.compile(r"[\w.-]{1,64}")
_BLANK = re.compile(r"\{\{(\w+)\}\}")
_HASH_CHARS = 12


@dataclass(frozen=True)
class Prompt:
    """A prompt: what it is called, its version, its words."""

    name: str
    version: str
    text: str

    @classmethod
    def load(cls, path: str | Path) -> Prompt:
        """Read a prompt file; its name is that of the file.

        Raises:
            ConfigError: it cannot be read, or does not begin with its version.
        """
        path = Path(path)
        try:
            content = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"the prompt {path} cannot be read: {type(error).__name__}") from None
        return _read(content, path.stem, str(path))

    def filled(self, **words: object) -> str:
        """Return the words with what is filled in; what is missing is a KeyError."""
        return _BLANK.sub(lambda found: str(words[found[1]]), self.text)

    @property
    def label(self) -> str:
        """Name and version."""
        return f"{self.name}/{self.version}"

    def __str__(self) -> str:
        return self.text


@cache
def packaged_prompt(package: str, name: str) -> Prompt:
    """Read a prompt that comes with a package, from its folder `prompts`."""
    file = resources.files(package) / "prompts" / f"{name}.md"
    return _read(file.read_text(encoding="utf-8"), name, f"{package}/prompts/{name}.md")


def stamp(label: str, text: str) -> str:
    """Name a prompt as it was sent: `name/version:hash`."""
    digest = hashlib.sha256(text.encode("utf-8", errors="surrogatepass")).hexdigest()
    return f"{label}:{digest[:_HASH_CHARS]}"


def _read(content: str, name: str, where: str) -> Prompt:
    found = _FILE.fullmatch(content.replace("\r\n", "\n"))
    if found is None or not found[2].strip() or not _NAME.fullmatch(name):
        raise ConfigError(
            f"the prompt {where} has to begin with three lines, '---', 'version: 1' and '---', and "
            "go on with its words; the file's name consists of letters, digits, '.', '_' and '-'"
        )
    return Prompt(name=name, version=found[1], text=found[2].strip())
