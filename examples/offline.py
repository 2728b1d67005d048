"""Run an example with local stand-ins for the world outside, and nothing else changed.

    python examples/offline.py starlings run --local --agents examples/debate/debate.py …

What is replaced stands in the example's `offline.env`, as the settings that everybody has: the
language model by answers in a file (`answers.jsonl`), the web, the weather and Slack by the small
web server in this file. Without the prefix, the same command asks a real model and the real web.
"""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

EXAMPLES = Path(__file__).parent
PAGES = EXAMPLES / "outside"
PORT = 8973  # always the same: recorded questions have the addresses of pages in them
WEB = f"http://127.0.0.1:{PORT}"
LOADED_AFTER = 2  # looks at the warehouse
MODEL_SETTINGS = ("OPENAI_", "STARLINGS_MODEL", "STARLINGS_LLM_", "STARLINGS_TEMPERATURE")


class Outside(BaseHTTPRequestHandler):
    """The world outside: a search engine, pages, a weather station, a warehouse's loader, Slack."""

    looks = itertools.count(1)

    def do_GET(self) -> None:
        """Answer a question."""
        parts = urlsplit(self.path)
        kind, _, rest = unquote(parts.path).strip("/").partition("/")
        page = PAGES / Path(rest).name
        if kind == "search":
            self.answer({"results": found(parse_qs(parts.query)["q"][0])})
        elif kind == "pages" and page.suffix == ".html" and page.is_file():
            self.answer(page.read_bytes(), "text/html; charset=utf-8")
        elif kind == "weather":
            self.answer(weather(rest))
        elif (kind, rest) == ("warehouse", "load"):
            done = next(self.looks) >= LOADED_AFTER
            self.answer({"state": "done" if done else "running"})
        else:
            self.send_error(404)

    def do_POST(self) -> None:
        """Take a message, and show it."""
        message = json.loads(self.rfile.read(int(self.headers["content-length"])))
        print(f"\nSlack shows:\n{message['text']}\n", file=sys.stderr, flush=True)
        self.answer(b"ok", "text/plain")

    def answer(self, body: Any, media_type: str = "application/json") -> None:
        """Send JSON, or bytes as they are."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(200)
        self.send_header("content-type", media_type)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_args: object) -> None:
        """Say nothing: the example speaks."""


def found(query: str) -> list[dict[str, str]]:
    """Find pages by their words, the best first."""
    wanted = set(re.findall(r"\w+", query.lower()))
    ranked = []
    for path in sorted(PAGES.glob("*.html")):
        html = path.read_text(encoding="utf-8")
        title = html.partition("<title>")[2].partition("</title>")[0]
        words = set(re.findall(r"\w+", html.lower()))
        one = {"title": title, "url": f"{WEB}/pages/{path.name}", "content": title}
        ranked.append((len(wanted & words), one))
    ranked.sort(key=lambda pair: -pair[0])
    return [one for count, one in ranked if count]


def weather(place: str) -> dict[str, Any]:
    """Report mild weather, everywhere."""
    now = {
        "temp_C": "14",
        "FeelsLikeC": "13",
        "humidity": "61",
        "windspeedKmph": "12",
        "weatherDesc": [{"value": "Clear"}],
    }
    day = {"date": "2030-05-01", "mintempC": "9", "maxtempC": "16"}
    area = [{"areaName": [{"value": place}]}]
    return {"current_condition": [now], "weather": [day], "nearest_area": area}


@contextmanager
def outside() -> Iterator[None]:
    """Have the world outside on this machine, when whoever else runs an example has ended."""
    lock = Path(tempfile.gettempdir(), f"starlings-examples-{os.getuid()}.lock")
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        server = opened()
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()


def opened() -> ThreadingHTTPServer:
    """Open the port."""
    try:
        return ThreadingHTTPServer(("127.0.0.1", PORT), Outside)
    except OSError as error:
        sys.exit(f"examples/offline.py: port {PORT} cannot be had: {error.strerror}")


def example_of(command: Sequence[str]) -> Path:
    """Find the folder of the example that a command is about."""
    for word in command:
        for folder in Path(word.partition(":")[0]).resolve().parents:
            if folder.parent == EXAMPLES.resolve():
                return folder
    return sys.exit("examples/offline.py: name a file of an example in the command")


def settings_of(example: Path) -> dict[str, str]:
    """Read what the example replaces."""
    replaced = example / "offline.env"
    if not replaced.exists():
        sys.exit(f"examples/offline.py: {example.name} needs nothing from outside: leave this out")
    settings = {}
    for line in replaced.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.partition("=")
            settings[name] = Template(value).substitute(HERE=example, WEB=WEB, PORT=PORT)
    return settings


def main(command: Sequence[str]) -> int:
    """Run a command; return its exit code."""
    own = {k: v for k, v in os.environ.items() if not k.startswith(MODEL_SETTINGS)}
    path = os.pathsep.join((str(Path(sys.executable).parent), own.get("PATH", "")))
    settings = settings_of(example_of(command))
    needed = any(WEB in value for value in settings.values())
    with outside() if needed else nullcontext():
        env = {**own, "PATH": path, **settings}
        process = subprocess.Popen(command, env=env)  # noqa: S603 - what the person has typed
        signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        while True:
            with suppress(KeyboardInterrupt):  # the command got it as well, and ends
                code = process.wait()
                return code if code >= 0 else 128 - code  # ended by a signal, as shells say it


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]) if sys.argv[1:] else __doc__)
