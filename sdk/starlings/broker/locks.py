"""Locks between processes: one fetches, one formats, one broker owns a data folder.

A lock is `flock` on a file that is never deleted. It belongs to the open file, so a child process
that inherits the descriptor keeps it, and it is gone the moment the last holder is, however that
one died. Nothing has to be cleaned up after a kill -9.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def _open(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def take(path: Path) -> int | None:
    """Take the lock and return its descriptor, or None where somebody else has it."""
    descriptor = _open(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def is_taken(path: Path) -> bool:
    """Tell whether somebody holds the lock now."""
    if not path.exists():
        return False
    descriptor = take(path)
    if descriptor is None:
        return True
    os.close(descriptor)
    return False


@contextmanager
def exclusive(path: Path, *, on_wait: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold the lock for a block; `on_wait` is called once when it has to be waited for."""
    descriptor = take(path)
    if descriptor is None:
        if on_wait is not None:
            on_wait()
        descriptor = _open(path)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(descriptor)
