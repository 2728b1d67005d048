"""Start, watch and end one Java process; knows nothing of Kafka but its log lines.

A process is only ever ended through a `psutil.Process`, which remembers when it was born, so a
recycled pid is never hit.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from starlings.messages.errors import ConfigError, StarlingsError

READY = b"Kafka Server started"
TAKEN = b"Address already in use"
POLL_S = 0.01
LOG_TAIL = 3_000
LOG_LIMIT_BYTES = 10_000_000
#: The shell starts it in the background and tells its pid, so that it outlives us without becoming
#: our zombie.
DETACH = '"$@" >>"$0" 2>&1 </dev/null & echo $!'


class BrokerFailed(StarlingsError):  # noqa: N818 - a statement, as in "the broker failed"
    """The local broker did not start, or ended by itself; the text carries the end of its log."""

    code = "broker_failed"


class PortTaken(ConfigError):  # noqa: N818 - a statement, as above
    """Somebody else listens on the port that the broker wants."""

    code = "port_taken"


def launch(
    command: Sequence[str], *, log: Path, keep: Sequence[int] = (), detached: bool = False
) -> psutil.Process:
    """Start a command in a session of its own, appending its output to `log`.

    `keep` are descriptors that it inherits, such as the lock of its data folder. A detached one is
    no child of ours and lives on when we end.
    """
    if log.exists() and log.stat().st_size > LOG_LIMIT_BYTES:
        log.replace(log.with_name(f"{log.name}.1"))
    if detached:
        told = subprocess.run(  # noqa: S603 - our own command line
            ["/bin/sh", "-c", DETACH, str(log), *command],
            stdout=subprocess.PIPE,
            pass_fds=keep,
            start_new_session=True,
            check=True,
        )
        return psutil.Process(int(told.stdout))
    with log.open("ab") as output:
        return psutil.Popen(
            list(command),
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            pass_fds=keep,
            start_new_session=True,
        )


def alive(process: psutil.Process) -> bool:
    """Tell whether it runs; a zombie that nobody reaps does not.

    A killed process shows as a zombie while some of its threads still hold its ports and locks:
    until they are gone it counts as alive.
    """
    try:
        if not process.is_running():
            return False
        return bool(process.status() != psutil.STATUS_ZOMBIE or process.num_threads() > 1)
    except psutil.NoSuchProcess:
        return False


def await_ready(process: psutil.Process, log: Path, *, mark: int, wait_s: float) -> None:
    """Return when the log says so; `mark` is its size before the start."""
    end = time.monotonic() + wait_s
    while True:
        running = alive(process)
        with log.open("rb") as file:
            file.seek(mark)
            text = file.read()
        if READY in text:
            return
        tail = text[-LOG_TAIL:].decode(errors="replace")
        if not running:
            finish(process, wait_s=1)
            if TAKEN in text:
                raise PortTaken(f"the broker's port was taken while it started:\n{tail}")
            raise BrokerFailed(f"the broker ended while it started; the end of {log}:\n{tail}")
        if time.monotonic() > end:
            raise BrokerFailed(
                f"the broker was not ready in {wait_s:g} s; the end of {log}:\n{tail}"
            )
        time.sleep(POLL_S)


def finish(process: psutil.Process, *, wait_s: float, ask: bool = True) -> bool:
    """End a process: ask it (SIGTERM), and after `wait_s` kill it; True if it went when asked."""
    asked = ask and alive(process)
    try:
        if asked:
            process.resume()  # a paused process hears no SIGTERM
            process.terminate()
            end = time.monotonic() + wait_s
            while alive(process) and time.monotonic() < end:
                _reap(process)
                time.sleep(POLL_S)
        went = not alive(process)
        if not went:
            process.kill()
        while alive(process):
            _reap(process)
            time.sleep(POLL_S)
    except psutil.NoSuchProcess:
        went = asked
    _reap(process)
    return went


def _reap(process: psutil.Process) -> None:
    """Take a child's exit status, so that it leaves no zombie; others are not ours to reap."""
    if isinstance(process, psutil.Popen):
        process.poll()


def log_size(log: Path) -> int:
    """Size of the log before a start, from which on `await_ready` reads."""
    if not log.exists() or log.stat().st_size > LOG_LIMIT_BYTES:
        return 0
    return log.stat().st_size


def born(process: psutil.Process) -> float:
    """When the process was born, in seconds since the epoch: with the pid, its identity."""
    return float(process.create_time())


def close(descriptor: int | None) -> None:
    """Close our copy of an inherited descriptor."""
    if descriptor is not None:
        os.close(descriptor)
