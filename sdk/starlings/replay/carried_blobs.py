"""Large values that a file carries along, beside the records whose claim checks name them.

They travel as attachments in pieces of a few megabytes. Whoever reads the file puts them into a
folder, from which they are served to the codec by their hash, wherever the claim says they lie.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import JsonValue, ValidationError
from pydantic_core import from_json

from starlings.blobs import BlobStore, Claim
from starlings.messages import UndecodableMessage

from .archive import Archive, ArchiveDamaged, ArchiveWriter

KIND = "blob"
PIECE_BYTES = 4 * 1024 * 1024


class CarriedBlobs(BlobStore):
    """The blobs of a file, found by their hash alone."""

    def __init__(self, folder: Path, path: Path) -> None:
        super().__init__(folder.absolute().as_uri())
        self._path = path

    async def get(self, claim: Claim) -> bytes:
        """Fetch a claimed value and check that it is the one that was claimed."""
        try:
            return await super().get(claim)
        except UndecodableMessage as error:
            raise self._explained(claim, error) from None

    async def get_file(self, claim: Claim, path: Path) -> None:
        """Fetch a claimed value into a file; where it is not the one, there is no file."""
        try:
            await super().get_file(claim, path)
        except UndecodableMessage as error:
            raise self._explained(claim, error) from None

    def _name(self, claim: Claim) -> str:
        return f"{claim.sha256[:2]}/{claim.sha256}"

    def _explained(self, claim: Claim, error: UndecodableMessage) -> UndecodableMessage:
        if error.code != "blob_gone":
            return error
        return UndecodableMessage(
            f"{self._path} does not carry the value {claim.uri} ({claim.size_bytes:,} bytes"
            f"{_told(claim)}); write the file anew with --blobs while the blob store has it",
            code=error.code,
        )


def _told(claim: Claim) -> str:
    return f": {claim.summary[:60]}" if claim.summary else ""


def claims_in(value: JsonValue) -> Iterator[Claim]:
    """Find the claim checks within JSON."""
    if isinstance(value, list):
        for inner in value:
            yield from claims_in(inner)
    elif isinstance(value, dict):
        claim = as_claim(value)
        if claim is not None:
            yield claim
            return
        for inner in value.values():
            yield from claims_in(inner)


def as_claim(value: dict[str, Any]) -> Claim | None:
    """Read a claim check; None where an object is none."""
    if not {"uri", "sha256", "size_bytes"} <= value.keys():
        return None
    try:
        return Claim.model_validate(value)
    except ValidationError:
        return None


def json_of(value: bytes | None) -> JsonValue | None:
    """Read JSON; None where it is none."""
    try:
        return from_json(value) if value is not None else None
    except (ValueError, RecursionError):
        return None


def attach_blob(writer: ArchiveWriter, digest: str, value: bytes) -> None:
    """Write a blob into an archive."""
    pieces = max(1, -(-len(value) // PIECE_BYTES))
    for number in range(pieces):
        piece = value[number * PIECE_BYTES : (number + 1) * PIECE_BYTES]
        coded = base64.b64encode(piece).decode()
        writer.attach(KIND, {"sha256": digest, "piece": number, "pieces": pieces, "base64": coded})


def unpack_blobs(archive: Archive, folder: Path) -> CarriedBlobs:
    """Put the blobs of an archive into a folder, and serve them from there.

    Raises:
        ArchiveDamaged: one of them is not what its hash says.
    """
    for digest in _written(archive, folder):
        path = folder / digest[:2] / digest
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                raise ArchiveDamaged(
                    f"{archive.path}: the blob {digest} is not what its hash says; export it anew"
                )
    return CarriedBlobs(folder, archive.path)


@contextlib.contextmanager
def blobs_of(archive: Archive, otherwise: BlobStore) -> Iterator[BlobStore]:
    """Serve the large values that an archive carries; where it has none, those of a store."""
    if not (archive.header.model_extra or {}).get("blobs"):
        yield otherwise
        return
    with tempfile.TemporaryDirectory(prefix="starlings-blobs-") as folder:
        yield unpack_blobs(archive, Path(folder))


def _written(archive: Archive, folder: Path) -> Iterable[str]:
    found: dict[str, None] = {}
    for line in archive.attachments(KIND):
        try:
            digest = Claim(uri="", sha256=line["sha256"], size_bytes=0).sha256
            piece = base64.b64decode(line["base64"], validate=True)
        except (KeyError, TypeError, ValueError):
            raise ArchiveDamaged(
                f"{archive.path}: a blob's line is damaged; export it anew"
            ) from None
        path = folder / digest[:2] / digest
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab" if digest in found else "wb") as file:
            file.write(piece)
        found[digest] = None
    return found
