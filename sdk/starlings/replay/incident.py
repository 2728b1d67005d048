"""An incident: all that the log holds of one run, in a file that can be handed on.

It is an archive whose header says more: of which run it is, how that stood, which versions wrote
it, how many records of each topic it holds, and what was taken out of it. Whatever reads archives
reads it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from aiokafka import ConsumerRecord
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from starlings.messages import MESSAGES, Topics

from .archive import Archive, ArchiveDamaged, ArchiveHeader
from .carried_blobs import CarriedBlobs, unpack_blobs

VERSION: Literal[1] = 1


class Redacted(BaseModel):
    """A secret that was taken out, by what stands in its place."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    placeholder: str
    times: int
    first: str = Field(default="", description="topic/partition/offset, or the blob's hash")


class LeftBlob(BaseModel):
    """A large value that the file does not carry."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    uri: str
    size_bytes: int
    reason: str = ""


class IncidentHeader(ArchiveHeader):
    """What is said of an incident as a whole."""

    starlings_incident: Literal[1] = VERSION
    run_id: str
    status: str = Field(description="as `starlings show` says it")
    ended: bool
    since: int | None = Field(
        default=None,
        description="the first offset that no snapshot tells of, where the plan is gone",
    )
    starlings: str = Field(default_factory=lambda: version("starlings"))
    schemas: dict[str, int] = Field(
        default_factory=lambda: {name: model.VERSION for name, model in sorted(MESSAGES.items())}
    )
    holds: dict[str, int] = Field(description="records by topic")
    blobs: int = 0
    left: list[LeftBlob] = Field(default_factory=list)
    redacted: list[Redacted] = Field(default_factory=list)


class IncidentUnusable(ArchiveDamaged):
    """The file is no incident that this version can use; the message says what to do."""

    code = "incident_unusable"


class Incident:
    """An incident on disk."""

    def __init__(self, archive: Archive, header: IncidentHeader) -> None:
        self.archive = archive
        self.header = header
        self.topics = Topics(header.prefix)

    @property
    def path(self) -> Path:
        """Where it lies."""
        return self.archive.path

    def records(self) -> Iterator[ConsumerRecord]:
        """Deliver the records, and look whether they are all there.

        Raises:
            ArchiveDamaged: the file is damaged, or some are missing.
        """
        held: Counter[str] = Counter()
        for record in self.archive:
            held[record.topic] += 1
            yield record
        for topic, count in self.header.holds.items():
            if held[topic] < count:
                raise IncidentUnusable(
                    f"{self.path}: {count - held[topic]} of {count} records of {topic} are "
                    "missing; write the file anew with `starlings incident`"
                )

    def blobs(self, folder: Path) -> CarriedBlobs:
        """Serve the large values that it carries, from a folder that is made for it."""
        return unpack_blobs(self.archive, folder)


def read_incident(path: Path | str) -> Incident:
    """Open an incident.

    Raises:
        ArchiveDamaged: it is none, or of another version.
        OSError: it cannot be read.
    """
    archive = Archive(Path(path))
    extra = archive.header.model_extra or {}
    made = extra.get("starlings_incident")
    if made is None:
        raise IncidentUnusable(
            f"{path} is a log, and no incident: `starlings incident RUN -o FILE --from {path}` "
            "makes one of it"
        )
    if made != VERSION:
        wrote = extra.get("starlings") or "another version"
        raise IncidentUnusable(
            f"{path} is an incident of version {made!r}, and this program reads version {VERSION}: "
            f"read it with the version of Starlings that wrote it ({wrote})"
        )
    try:
        return Incident(archive, IncidentHeader.model_validate(archive.header.model_dump()))
    except ValidationError as error:
        raise IncidentUnusable(f"{path}: its first line is no header: {error}") from None
