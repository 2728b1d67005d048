"""Where queries put what is on its way or does not fit into memory: a folder of this process.

It lies below the system's folder for temporary files (`TMPDIR`) and goes with the process. One that
is killed leaves its folder behind, but not the lock on it: the next process removes such folders.
"""

from __future__ import annotations

import atexit
import fcntl
import hashlib
import os
import shutil
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

_PREFIX = "starlings-sql-"
_making = threading.Lock()
_ours: Path | None = None


def scratch_folder() -> Path:
    """Give the folder of this process; a new one where somebody has cleaned up."""
    global _ours  # noqa: PLW0603 - one for the process
    with _making:
        if _ours is None or not _ours.is_dir():
            parent = Path(tempfile.gettempdir())
            clear_abandoned(parent)
            _ours = _locked_folder(parent)
            atexit.register(shutil.rmtree, _ours, ignore_errors=True)
        return _ours


def spill_folder(database: Path) -> Path:
    """Say where a database puts what does not fit into memory; it makes and removes it itself.

    All that open one file in a process share one, since DuckDB wants to be told the same by all.
    """
    name = hashlib.sha256(str(database.resolve()).encode()).hexdigest()[:16]
    return scratch_folder() / f"spill-{name}"


def clear_abandoned(parent: Path) -> None:
    """Remove the folders of processes that are no more."""
    for folder in parent.glob(f"{_PREFIX}*"):
        with suppress(OSError):  # another user's, or at work, or somebody else removes it
            held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(held)


def _locked_folder(parent: Path) -> Path:
    """Make a folder that is locked until the process ends, and that nobody sees unlocked."""
    new = Path(tempfile.mkdtemp(prefix=f".{_PREFIX}", dir=parent))
    fcntl.flock(os.open(new, os.O_RDONLY | os.O_DIRECTORY), fcntl.LOCK_EX)
    return new.rename(parent / new.name.removeprefix("."))
