"""A model server for the examples: answers written by hand, chosen by what stands in the question.

It stands for any OpenAI-compatible server in tests. What the examples play back offline was
recorded from it, by `make answers`; after a change of a prompt, that has to be done again.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

from .model_server import ModelServer, Reply, model_server, refusal

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
MODEL = "handwritten"
SCRIPTS = Path(__file__).parent / "example_answers"


class Script:
    """The answers of one example: the first whose words all stand in the question is given.

    `turn`: how many results of tools are in it. Of `says_each` one after the other is given.
    """

    def __init__(self, example: str) -> None:
        text = (SCRIPTS / f"{example}.yaml").read_text(encoding="utf-8")
        self._answers: list[dict[str, Any]] = yaml.safe_load(text)
        self._given: Counter[int] = Counter()

    def __call__(self, asked: dict[str, Any]) -> Reply:
        """Find the answer."""
        messages = asked["messages"]
        question = "\n".join(str(message.get("content") or "") for message in messages)
        turns = sum(message["role"] == "tool" for message in messages)
        for number, answer in enumerate(self._answers):
            fits = all(words in question for words in answer["asked"])
            if fits and answer.get("turn", turns) == turns:
                each = answer.get("says_each", [answer.get("says")])
                self._given[number] += 1
                return _reply(each[(self._given[number] - 1) % len(each)], answer.get("call"))
        return refusal(418, f"no answer is written for: {question[-2000:]}")


def _reply(says: Any, call: dict[str, Any] | None) -> Reply:
    text = says if isinstance(says, str) else json.dumps(says, ensure_ascii=False)
    if call is None:
        return Reply(text)
    function = {**call, "arguments": json.dumps(call["arguments"])}
    made = {"id": "call_1", "type": "function", "function": function}
    return Reply(text, message={"tool_calls": [made]})


@contextmanager
def example_model(example: str) -> Iterator[ModelServer]:
    """Run the server for one example."""
    script = Script(example)
    with model_server() as server:

        def reply(asked: dict[str, Any], headers: dict[str, str]) -> Reply:
            server.requests.append(asked)
            server.headers.append(headers)
            return script(asked)

        server.next_reply = reply  # type: ignore[method-assign]
        yield server


def commands(example: str) -> list[list[str]]:
    """Read the commands of an example's README that run offline, as people type them."""
    readme = (EXAMPLES / example / "README.md").read_text(encoding="utf-8")
    lines = readme.replace("\\\n", " ").splitlines()
    return [
        shlex.split(line) for line in lines if line.startswith("    python examples/offline.py")
    ]


def offline() -> ModuleType:
    """Load what runs examples offline."""
    spec = importlib.util.spec_from_file_location("examples_offline", EXAMPLES / "offline.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def settings_with(server: ModelServer, example: str) -> dict[str, str]:
    """Say how an example runs with a model server, and the rest of the world as it is offline."""
    settings: dict[str, str] = offline().settings_of(EXAMPLES / example)
    settings.pop("STARLINGS_LLM_CASSETTE", None)
    return {**settings, "OPENAI_BASE_URL": server.base_url, "STARLINGS_MODEL": MODEL}


def record(example: str) -> None:
    """Record the answers of an example anew; where none has changed, the file stays as it is."""
    answers = EXAMPLES / example / "answers.jsonl"
    before = answers.read_text(encoding="utf-8") if answers.exists() else ""
    answers.unlink(missing_ok=True)
    with example_model(example) as server, offline().outside():
        env = {
            **os.environ,
            **settings_with(server, example),
            "STARLINGS_LLM_CASSETTE": str(answers),
            "STARLINGS_LLM_CASSETTE_MODE": "record",
        }
        for command in commands(example):
            argv = [sys.executable, "-m", "starlings.cli", *command[3:]]
            subprocess.run(argv, cwd=ROOT, env=env, check=True, timeout=300)
    if _said(before) == _said(answers.read_text(encoding="utf-8")):
        answers.write_text(before, encoding="utf-8")
    answers.chmod(0o644)


def _said(recorded: str) -> list[str]:
    """List questions and answers, whenever they were recorded and in whatever order."""
    entries = [json.loads(line) for line in recorded.splitlines()]
    return sorted(json.dumps({**entry, "take": ""}, sort_keys=True) for entry in entries)


if __name__ == "__main__":
    for script in sorted(SCRIPTS.glob("*.yaml")):
        if "answers.jsonl" in (EXAMPLES / script.stem / "offline.env").read_text(encoding="utf-8"):
            record(script.stem)
