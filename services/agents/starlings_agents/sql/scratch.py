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
from contextlib import suppress
from functools import cache
from pathlib import Path

_PREFIX = "starlings-sql-"
_LOCK = "lock"


@cache
def scratch_folder() -> Path:
    """Give the folder of this process."""
    clear_abandoned(Path(tempfile.gettempdir()))
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    new = folder / f"{_LOCK}.new"
    held = os.open(new, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)  # until the process ends
    fcntl.flock(held, fcntl.LOCK_EX)
    new.rename(folder / _LOCK)  # nobody sees it unlocked
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def spill_folder(database: Path) -> Path:
    """Say where a database puts what does not fit into memory; it makes and removes it itself.

    All that open one file in a process share one, since DuckDB wants to be told the same by all.
    """
    name = hashlib.sha256(str(database.resolve()).encode()).hexdigest()[:16]
    return scratch_folder() / f"spill-{name}"


def clear_abandoned(parent: Path) -> None:
    """Remove the folders of processes that are no more."""
    for lock in parent.glob(f"{_PREFIX}*/{_LOCK}"):
        with suppress(OSError):  # another user's, or somebody else removes it
            held = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(lock.parent, ignore_errors=True)
            finally:
                os.close(held)
