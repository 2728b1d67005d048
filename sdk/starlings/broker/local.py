"""One local broker over one data folder: start, stop, kill, pause, and again over the same data.

What lies in the data folder: `storage/` (Kafka's own), `server.properties`, `server.log`,
`state.json` (who runs here, while somebody does) and `.lock`, which the broker's process itself
holds for as long as it lives: two brokers can never share a folder, whoever started them.
"""

from __future__ import annotations

import atexit
import contextlib
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from starlings.messages.errors import ConfigError

from .installation import Installation, install
from .jars import VERSION, Progress, report
from .locks import take
from .ports import HOST, free_port, is_free
from .process import (
    BrokerFailed,
    PortTaken,
    alive,
    await_ready,
    born,
    close,
    finish,
    launch,
    log_size,
)
from .properties import BrokerSecurity, broker_settings, render
from .state import Files, Record

STOP_WAIT_S = 30.0
PORT_TRIES = 5


class LocalBroker:
    """A real Apache Kafka on this machine, for development and tests.

    Without `data` it keeps its data in a temporary folder that `close` removes. With port 0 it
    takes a free port when it is made, and keeps it over restarts. `settings` are broker settings
    that win over ours; `security` makes the listener SASL_SSL.
    """

    def __init__(
        self,
        data: Path | None = None,
        *,
        port: int = 0,
        settings: Mapping[str, str] | None = None,
        security: BrokerSecurity | None = None,
        progress: Progress = report,
    ) -> None:
        self._temporary = data is None
        self.data = Path(data or tempfile.mkdtemp(prefix="starlings-kafka-")).resolve()
        self.files = Files(self.data)
        self.port = port or free_port()
        self._port_is_ours = port == 0
        self._settings = dict(settings or {})
        self._security = security
        self._progress = progress
        self._process: psutil.Process | None = None

    @property
    def bootstrap(self) -> str:
        """Address for clients."""
        return f"{HOST}:{self.port}"

    @property
    def log(self) -> Path:
        """The file that the broker logs to."""
        return self.files.log

    @property
    def running(self) -> bool:
        """Tell whether the broker's process is alive."""
        return self._process is not None and alive(self._process)

    @property
    def pid(self) -> int:
        """Process id of the running broker."""
        return int(self._living().pid)

    def start(self, wait_s: float = 90, *, detached: bool = False) -> Self:
        """Start and return when the broker is ready; a no-op while it runs.

        A detached broker outlives this program. Raises ConfigError where the folder belongs to
        another broker or the port to somebody else, BrokerFailed where Kafka itself gave up.
        """
        if self.running:
            return self
        installation = install(self._progress)
        self.data.mkdir(parents=True, exist_ok=True)
        lock = take(self.files.lock)
        if lock is None:
            raise ConfigError(
                f"the data folder {self.data} is in use by another broker; stop that one "
                "(`starlings broker down`), or choose another folder"
            )
        try:
            if not self.files.storage.exists():
                installation.format(self.files.storage, self._security)
            self._start_on_a_port(installation, lock, wait_s, detached=detached)
        finally:
            close(lock)  # the broker's process holds its own copy
        if not detached:
            atexit.register(self.stop)
        return self

    def _start_on_a_port(
        self, installation: Installation, lock: int, wait_s: float, *, detached: bool
    ) -> None:
        """Start; where the port was our own choice and was snatched, choose another."""
        for attempt in range(1, PORT_TRIES + 1):
            if not is_free(self.port) and not self._port_is_ours:
                raise PortTaken(
                    f"port {self.port} on {HOST} is in use by another program; stop that one, or "
                    "choose another port (0 takes any free one)"
                )
            try:
                self._start_once(installation, lock, wait_s, detached=detached)
            except PortTaken:
                if attempt == PORT_TRIES:
                    raise
                if self._port_is_ours:
                    self.port = free_port()
            else:
                self._port_is_ours = False  # clients know it now
                return

    def _start_once(
        self, installation: Installation, lock: int, wait_s: float, *, detached: bool
    ) -> None:
        settings = broker_settings(
            storage=self.files.storage,
            port=self.port,
            controller_port=free_port(),
            security=self._security,
        )
        self.files.write_private(self.files.properties, render({**settings, **self._settings}))
        mark = log_size(self.log)
        process = launch(
            installation.command("kafka.Kafka", str(self.files.properties)),
            log=self.log,
            keep=[lock],
            detached=detached,
        )
        try:
            await_ready(process, self.log, mark=mark, wait_s=wait_s)
            self.files.write_record(
                Record(
                    pid=process.pid,
                    born=born(process),
                    port=self.port,
                    bootstrap=self.bootstrap,
                    kafka=VERSION,
                    secured=self._security is not None,
                )
            )
        except BaseException:
            finish(process, wait_s=0, ask=False)
            raise
        self._process = process

    def stop(self, wait_s: float = STOP_WAIT_S) -> None:
        """Stop cleanly (SIGTERM; SIGKILL after `wait_s`) and keep the data; a no-op if stopped."""
        atexit.unregister(self.stop)
        if self._process is not None:
            finish(self._process, wait_s=wait_s)
            self._process = None
            self.files.forget_record()

    def kill(self) -> None:
        """Kill with SIGKILL, as a crash would; `start` goes on over the same data and port."""
        finish(self._living(), wait_s=0, ask=False)
        self._process = None

    def restart(self, wait_s: float = 90) -> None:
        """Stop cleanly and start again over the same data and port."""
        self.stop()
        self.start(wait_s)

    def pause(self) -> None:
        """Freeze the process (SIGSTOP): connections stay open, nothing answers."""
        self._living().suspend()

    def resume(self) -> None:
        """Let a frozen process go on (SIGCONT)."""
        self._living().resume()

    def close(self) -> None:
        """Stop, and remove the data where it was temporary."""
        self.stop()
        if self._temporary:
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(self.data)

    def _living(self) -> psutil.Process:
        if self._process is None or not alive(self._process):
            raise BrokerFailed(f"the broker over {self.data} does not run; see {self.log}")
        return self._process

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
