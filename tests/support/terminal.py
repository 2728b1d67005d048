"""A command with a terminal of its own, as a person has it."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path


class Terminal:
    """Runs `starlings` on a terminal; what was said and not read yet is in `said`."""

    def __init__(self, *argv: str, folder: Path | None = None, **env: str) -> None:
        self._own, theirs = pty.openpty()
        self.said = ""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "starlings.cli", *argv],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=folder,
            env={**os.environ, "TERM": "dumb", "COLUMNS": "100", **env},
            close_fds=True,
        )
        os.close(theirs)

    def until(self, text: str) -> str:
        """Read on until something is said; return what was said before it."""
        while text not in self.said:
            assert self._read(), f"it ended without {text!r}: {self.said}"
        before, _, self.said = self.said.partition(text)
        return before

    def type(self, text: str, *, enter: bool = True) -> None:
        os.write(self._own, (text + "\n" * enter).encode())

    def end(self) -> int:
        """Read to its end, and return its exit code."""
        while self._read():
            pass
        return self._process.wait(timeout=60)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._own)

    def _read(self) -> bool:
        try:
            came = os.read(self._own, 65_536)
        except OSError:  # its end has closed the terminal
            came = b""
        self.said += came.decode(errors="replace").replace("\r", "")
        return bool(came)
