"""Which files a data folder has, and how it remembers the broker that runs over it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import psutil
from pydantic import BaseModel, ValidationError

BIRTH_TOLERANCE_S = 2.0


class Record(BaseModel):
    """The broker that runs over a folder; pid and birth together name one process for ever."""

    pid: int
    born: float
    port: int
    bootstrap: str
    kafka: str
    secured: bool = False


@dataclass(frozen=True)
class Files:
    """The files of a data folder."""

    data: Path

    @property
    def storage(self) -> Path:
        """Kafka's own files: topics, metadata, offsets."""
        return self.data / "storage"

    @property
    def properties(self) -> Path:
        """The settings that the broker was last started with."""
        return self.data / "server.properties"

    @property
    def log(self) -> Path:
        """What the broker says; the older part lies beside it with `.1`."""
        return self.data / "server.log"

    @property
    def record(self) -> Path:
        """Who runs here."""
        return self.data / "state.json"

    @property
    def lock(self) -> Path:
        """Held by the broker's process for as long as it lives."""
        return self.data / ".lock"

    @property
    def turn(self) -> Path:
        """Held by whoever starts, stops or resets the broker, while it does so."""
        return self.data / ".turn"

    def write_private(self, path: Path, text: str) -> None:
        """Write a file whole or not at all, for its owner only: it may hold passwords."""
        new = path.with_name(f".{path.name}.new")
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
        new.replace(path)

    def write_record(self, record: Record) -> None:
        """Remember the broker that runs here."""
        self.write_private(self.record, record.model_dump_json(indent=2))

    def forget_record(self) -> None:
        """Forget it after a clean stop."""
        self.record.unlink(missing_ok=True)

    def read_record(self) -> Record | None:
        """Read who is said to run here; None where nobody is, or the file is torn."""
        try:
            return Record.model_validate_json(self.record.read_bytes())
        except (FileNotFoundError, ValidationError):
            return None

    def process_of(self, record: Record) -> psutil.Process | None:
        """Find the very process of a record; None where it is gone, though its pid lives again."""
        try:
            process = psutil.Process(record.pid)
            same = abs(process.create_time() - record.born) < BIRTH_TOLERANCE_S
            ours = str(self.properties) in process.cmdline()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return None
        return process if same and ours else None
