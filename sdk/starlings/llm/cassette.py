"""Recorded answers of models: a file of JSON lines, for tests and for work without a network.

Rules:
- What is recorded is what was asked, apart from how a server had to be asked, and what came back:
  so a recording made with one server is played back without any.
- The key is the normalised question: model, messages, tools, shape, temperature, limit. Ids of tool
  calls are numbered anew.
- The same question asked several times has several answers, given in their order; after the last
  one that one again. Of several recordings of a question the last counts.
- No secret is written: the key and the credentials in the address are taken out wherever they are.
- `replay` asks nobody; a question that was not recorded is an error that shows the nearest one.
  `record` asks and writes down; `auto` asks and writes down what is missing.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import uuid
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from starlings.messages.errors import ConfigError

from . import errors
from .errors import ModelFailed
from .question import Question
from .reply import Reply
from .settings import LlmSettings

Mode = Literal["record", "replay", "auto"]
_SHOWN = 60
_LEAVES_COMPARED = 2_000


class Cassette:
    """Answers in a file.

    Args:
        path: the file; `record` and `auto` make it where it is missing.
        mode: see the module.

    Raises:
        ConfigError: the file cannot be read, or has something else in it.
    """

    def __init__(self, path: str | Path, *, mode: Mode = "replay") -> None:
        self.path = Path(path)
        self.mode = mode
        self.model: str | None = None  # of the first answer
        self._take = uuid.uuid4().hex[:12]
        self._answers: dict[str, tuple[str, list[Reply]]] = {}
        self._asked: dict[str, dict[str, Any]] = {}
        self._given: dict[str, int] = defaultdict(int)
        self._load()

    @property
    def replays(self) -> bool:
        """Whether nobody is asked."""
        return self.mode == "replay"

    async def ask(
        self,
        asked: dict[str, Any],
        ask: Callable[[], Awaitable[Reply]],
        hide: Callable[[str], str],
    ) -> Reply:
        """Give the recorded answer, or ask for one; `hide` takes secrets out of what is written.

        Raises:
            ModelFailed: `model_not_recorded`, where nobody is to be asked.
        """
        key = key_of(asked)
        known = self._answers.get(key)
        if known is not None and self.mode != "record":
            number = self._given[key]
            self._given[key] += 1
            return known[1][min(number, len(known[1]) - 1)]
        if self.replays:
            raise self._missing(asked)
        reply = await ask()
        entry = {"take": self._take, "key": key, "asked": asked, "reply": _told(reply)}
        line = hide(json.dumps(entry, ensure_ascii=False))
        await asyncio.to_thread(self._append, line)
        return reply

    def _append(self, line: str) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # in one write, so that lines of several processes do not mix
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(file, f"{line}\n".encode())
        finally:
            os.close(file)

    def _load(self) -> None:
        try:
            content = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            if self.replays:
                raise ConfigError(
                    f"STARLINGS_LLM_CASSETTE: there is no file {self.path}; record it first, with "
                    "STARLINGS_LLM_CASSETTE_MODE=record"
                ) from None
            return
        except (OSError, UnicodeDecodeError) as error:
            why = type(error).__name__
            raise ConfigError(f"STARLINGS_LLM_CASSETTE: {self.path}: {why}") from None
        whole = content if content.endswith("\n") else content[: content.rfind("\n") + 1]
        for number, line in enumerate(whole.split("\n"), 1):  # texts may have other line ends
            if line.strip():
                self._take_in(line, number)

    def _take_in(self, line: str, number: int) -> None:
        try:
            entry = json.loads(line)
            take, key, asked = str(entry["take"]), str(entry["key"]), entry["asked"]
            reply = Reply.model_validate(entry["reply"])
        except (ValueError, KeyError, TypeError, ValidationError):
            raise ConfigError(
                f"STARLINGS_LLM_CASSETTE: line {number} of {self.path} is no recorded answer; take "
                "it out, or record anew"
            ) from None
        self.model = self.model or asked.get("model")
        known = self._answers.get(key)
        same = known is not None and known[0] == take
        self._answers[key] = (take, [*(known[1] if known and same else []), reply])
        self._asked[key] = asked

    def _missing(self, asked: dict[str, Any]) -> ModelFailed:
        said = f"{self.path} has no answer to this question"
        if self._asked:
            said += f"; the nearest one that it has differs: {_nearest(asked, self._asked)}"
        return ModelFailed(
            said,
            code=errors.NOT_RECORDED,
            remedy="ask what was recorded, or record it with STARLINGS_LLM_CASSETTE_MODE=auto",
        )


_TOLD = {"name", "description", "parameters"}  # of a tool, to the model


def normalised(question: Question, settings: LlmSettings, model: str) -> dict[str, Any]:
    """Write what is asked, apart from how a server has to be asked."""
    asked: dict[str, Any] = {"model": model, "messages": _renumbered(question.messages)}
    if question.shape is not None:
        asked["shape"] = {"name": question.shape.name, "schema": question.shape.schema}
    if question.tools:
        asked["tools"] = [tool.model_dump(mode="json", include=_TOLD) for tool in question.tools]
    for name in ("temperature", "max_tokens"):
        if getattr(settings, name) is not None:
            asked[name] = getattr(settings, name)
    return asked


def key_of(asked: dict[str, Any]) -> str:
    """Name a question."""
    text = json.dumps(asked, ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", errors="surrogatepass")).hexdigest()[:32]


def _told(reply: Reply) -> dict[str, Any]:
    told: dict[str, Any] = reply.model_dump(mode="json", exclude_defaults=True)
    return told


def _renumbered(messages: tuple[dict[str, Any], ...]) -> list[dict[str, Any]]:
    numbers: dict[str, str] = {}

    def number(call_id: Any) -> str:
        return numbers.setdefault(str(call_id), f"call_{len(numbers) + 1}")

    written = []
    for message in messages:
        plain = dict(message)
        if "tool_calls" in plain:
            plain["tool_calls"] = [{**c, "id": number(c.get("id"))} for c in plain["tool_calls"]]
        if "tool_call_id" in plain:
            plain["tool_call_id"] = number(plain["tool_call_id"])
        written.append(plain)
    return written


# -- what is nearest -------------------------------------------------------------------------------


def _nearest(asked: dict[str, Any], known: dict[str, dict[str, Any]]) -> str:
    """Show the first difference to the recorded question that has most in common with this one."""
    mine = _leaves_of(asked)
    theirs = max((_leaves_of(other) for other in known.values()), key=lambda o: _likeness(mine, o))
    paths = dict.fromkeys([*mine, *theirs])
    path = next((path for path in paths if mine.get(path) != theirs.get(path)), None)
    if path is None:
        return "in nothing that is shown here"
    return f"{path} was {_window(theirs, mine, path)}, and now is {_window(mine, theirs, path)}"


def _leaves_of(asked: dict[str, Any]) -> dict[str, Any]:
    leaves = _leaves(asked, "")
    return {path: leaf for (path, leaf), _ in zip(leaves, range(_LEAVES_COMPARED), strict=False)}


def _likeness(mine: dict[str, Any], theirs: dict[str, Any]) -> float:
    alike = 0.0
    for path, leaf in mine.items():
        other = theirs.get(path)
        if leaf == other:
            alike += 1
        elif isinstance(leaf, str) and isinstance(other, str):
            alike += _common(leaf, other) / (max(len(leaf), len(other)) + 1)
    return alike - abs(len(mine) - len(theirs)) / 2


def _common(one: str, other: str) -> int:
    pairs = zip(one, other, strict=False)
    return next(
        (n for n, (mine, its) in enumerate(pairs) if mine != its), min(len(one), len(other))
    )


def _window(mine: dict[str, Any], theirs: dict[str, Any], path: str) -> str:
    if path not in mine:
        return "not there"
    leaf, other = mine[path], theirs.get(path)
    if not isinstance(leaf, str):
        return repr(leaf)
    start = max(_common(leaf, other) - _SHOWN // 3, 0) if isinstance(other, str) else 0
    shown = leaf[start : start + _SHOWN]
    return repr(f"{'…' if start else ''}{shown}{'…' if start + _SHOWN < len(leaf) else ''}")


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _leaves(inner, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _leaves(inner, f"{path}[{index}]")
    else:
        yield path, value
