"""The broker that outlives the command that started it: up, down, status, logs, reset.

Everything is found again through the data folder alone: its record names the process, and its lock
proves that a broker lives. A record whose process is gone (a crash, a reboot, a recycled pid) is
stale: it is reported, never signalled, and the next `up` goes on over the data.
"""

from __future__ import annotations

import os
import shutil
import time
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from starlings.messages.errors import ConfigError

from .jars import VERSION, Progress, report
from .local import STOP_WAIT_S, LocalBroker
from .locks import exclusive, is_taken
from .process import finish
from .properties import BrokerSecurity
from .state import Files, Record

#: Kafka's usual port, and the default of KAFKA_BOOTSTRAP: clients need no setting then.
DEFAULT_PORT = 9092
FOLLOW_POLL_S = 0.2
PROJECT_MARKS = (".starlings", "pyproject.toml", ".git")


class BrokerState(BaseModel):
    """What is known of the broker over a data folder; `message` says it in a sentence."""

    status: Literal["running", "starting", "crashed", "stopped"]
    data: Path
    log: Path
    message: str
    pid: int | None = None
    port: int | None = None
    bootstrap: str | None = None
    kafka: str | None = None
    changed: bool = False  # whether this very call did something


def default_data_folder() -> Path:
    """Choose the data folder: the project's own, else the user's.

    `STARLINGS_BROKER_DATA` if set; else `.starlings/broker` in the nearest folder upwards that has
    `.starlings`, `pyproject.toml` or `.git`; else `~/.local/share/starlings/broker`
    (`XDG_DATA_HOME` overrides `~/.local/share`).
    """
    demanded = os.environ.get("STARLINGS_BROKER_DATA")
    if demanded:
        return Path(demanded).expanduser().resolve()
    here = Path.cwd()
    for folder in (here, *here.parents):
        if folder != Path.home() and any((folder / mark).exists() for mark in PROJECT_MARKS):
            return folder / ".starlings" / "broker"
    share = os.environ.get("XDG_DATA_HOME")
    return (Path(share) if share else Path.home() / ".local/share") / "starlings" / "broker"


def _prepare(data: Path) -> None:
    """Make the folder; one in a project's `.starlings` keeps out of version control."""
    data.mkdir(parents=True, exist_ok=True)
    if data.parent.name == ".starlings":
        ignore = data.parent / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n", encoding="utf-8")


def _described(files: Files, record: Record, *, changed: bool, message: str) -> BrokerState:
    return BrokerState(
        status="running",
        data=files.data,
        log=files.log,
        message=message,
        pid=record.pid,
        port=record.port,
        bootstrap=record.bootstrap,
        kafka=record.kafka,
        changed=changed,
    )


def status(data: Path | None = None) -> BrokerState:
    """Tell how the broker over a data folder is, without touching anything."""
    files = Files((data or default_data_folder()).resolve())
    record = files.read_record()
    if record is not None and files.process_of(record) is not None:
        told = f"Apache Kafka {record.kafka} runs on {record.bootstrap} (pid {record.pid})"
        return _described(files, record, changed=False, message=told)
    if is_taken(files.lock):
        told = f"a broker over {files.data} is about to start or to end"
        return BrokerState(status="starting", data=files.data, log=files.log, message=told)
    if record is not None:
        told = (
            f"the broker (pid {record.pid}) is gone without a clean stop; its data is in "
            f"{files.data}, and `starlings broker up` goes on over it; see {files.log}"
        )
        return BrokerState(status="crashed", data=files.data, log=files.log, message=told)
    kept = f"its data is in {files.data}" if files.storage.exists() else "there is no data"
    told = f"no broker runs; {kept}"
    return BrokerState(status="stopped", data=files.data, log=files.log, message=told)


def up(
    data: Path | None = None,
    port: int | None = None,
    *,
    settings: Mapping[str, str] | None = None,
    security: BrokerSecurity | None = None,
    progress: Progress = report,
    wait_s: float = 90,
) -> BrokerState:
    """Start a broker that goes on when this program ends; a no-op that says so while one runs.

    The port is 9092 unless given; 0 takes any free one. Raises ConfigError where the port is in
    use, or where the broker runs already, but on another port than the one asked for.
    """
    files = Files((data or default_data_folder()).resolve())
    _prepare(files.data)
    waiting = f"another command is at work on the broker over {files.data}; waiting for it"
    with exclusive(files.turn, on_wait=lambda: progress(waiting)):
        found = status(files.data)
        if found.status == "running":
            if port and port != found.port:
                raise ConfigError(
                    f"the broker over {files.data} runs already, on port {found.port}, not {port}; "
                    "leave the port out, or stop it first: `starlings broker down`"
                )
            return found.model_copy(update={"message": f"{found.message} already"})
        wanted = DEFAULT_PORT if port is None else port
        broker = LocalBroker(
            files.data, port=wanted, settings=settings, security=security, progress=progress
        )
        broker.start(wait_s, detached=True)
        record = files.read_record()
        if record is None:
            raise ConfigError(f"{files.record} was removed while the broker started; try again")
        told = f"Apache Kafka {VERSION} runs on {broker.bootstrap} (pid {record.pid})"
        return _described(files, record, changed=True, message=told)


def _end(files: Files, wait_s: float) -> str:
    """Stop the recorded broker if it lives; say what was done. Never signals anybody else."""
    record = files.read_record()
    process = files.process_of(record) if record is not None else None
    if record is None or process is None:
        files.forget_record()
        return ""
    clean = finish(process, wait_s=wait_s)
    files.forget_record()
    how = "stopped" if clean else f"did not stop in {wait_s:g} s and was killed"
    return f"the broker on {record.bootstrap} (pid {record.pid}) {how}"


def down(data: Path | None = None, *, wait_s: float = STOP_WAIT_S) -> BrokerState:
    """Stop the broker over a data folder cleanly and keep its data; a no-op where none runs."""
    files = Files((data or default_data_folder()).resolve())
    if not files.data.exists():
        return status(files.data)
    with exclusive(files.turn):
        told = _end(files, wait_s)
        after = status(files.data)
        message = f"{told}; its data is in {files.data}" if told else after.message
        return after.model_copy(update={"message": message, "changed": bool(told)})


def reset(data: Path | None = None, *, wait_s: float = STOP_WAIT_S) -> BrokerState:
    """Stop the broker and delete all its topics and messages; other files in the folder stay."""
    files = Files((data or default_data_folder()).resolve())
    if not files.data.exists():
        return status(files.data)
    with exclusive(files.turn):
        ended = _end(files, wait_s)
        if is_taken(files.lock):
            raise ConfigError(
                f"a broker still works over {files.data}, and nothing tells which; "
                "end the program that started it, then reset"
            )
        had_data = files.storage.exists()
        shutil.rmtree(files.storage, ignore_errors=True)
        for file in (files.properties, files.log, files.log.with_name(f"{files.log.name}.1")):
            file.unlink(missing_ok=True)
        told = f"all data of the broker in {files.data} is deleted" if had_data else "nothing to do"
        message = f"{ended}; {told}" if ended else told
        return status(files.data).model_copy(
            update={"message": message, "changed": bool(ended) or had_data}
        )


def logs(data: Path | None = None, *, lines: int = 100, follow: bool = False) -> Iterator[str]:
    """Yield the last lines of the broker's log; with `follow` go on until the caller stops."""
    files = Files((data or default_data_folder()).resolve())
    if not files.log.exists():
        raise ConfigError(f"no broker has run over {files.data} yet: `starlings broker up`")
    with files.log.open(encoding="utf-8", errors="replace") as log:
        yield from (line.rstrip("\n") for line in deque(log, maxlen=lines))
        while follow:
            line = log.readline()
            if line:
                yield line.rstrip("\n")
            else:
                time.sleep(FOLLOW_POLL_S)
