"""Values too large for a Kafka record, kept in an object store and fetched by a claim check.

Names are the content's SHA-256, so that the same value is stored once and a repeat changes nothing.
What is fetched is checked against the claim: a claim comes from whoever may write to the topic, so
it can name neither what lies outside the store nor more bytes than it says.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import obstore
from obstore.exceptions import NotFoundError
from obstore.store import LocalStore, ObjectStore, from_url
from pydantic import Field

from starlings.messages import ConfigError, Model, TransientError, UndecodableMessage

SCHEMES = ("file", "s3", "gs", "az", "abfs", "memory")
SHA256 = r"^[0-9a-f]{64}$"
_HASH_ASIDE_BYTES = 1 << 20  # more than this is hashed in a thread


class Claim(Model):
    """What travels on Kafka in the place of a large value."""

    uri: str
    sha256: str = Field(pattern=SHA256)
    size_bytes: int = Field(ge=0)
    media_type: str = "application/json"
    summary: str = Field(default="", description="what the value is, for whoever does not fetch it")


class BlobStore:
    """An object store under one URL: `file:///…`, `s3://bucket/prefix`, `gs://…`, `az://…`."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        relative = parts.scheme == "file" and (parts.netloc or not parts.path.startswith("/"))
        if parts.scheme not in SCHEMES or relative:
            raise ConfigError(
                f"STARLINGS_BLOBS_URL={url!r} is wrong: it takes file:///absolute/folder, "
                "s3://bucket/prefix, gs://bucket/prefix or az://container/prefix"
            )
        self.url = url.rstrip("/")
        self._opened: Any = None

    @property
    def _store(self) -> ObjectStore:
        """Open the store at its first use: most processes never meet a large value."""
        if self._opened is None:
            if urlsplit(self.url).scheme == "file":
                folder = Path(url2pathname(urlsplit(self.url).path))
                folder.mkdir(parents=True, exist_ok=True)
                self._opened = LocalStore(folder)
            else:
                self._opened = from_url(self.url)
        return self._opened  # type: ignore[no-any-return]

    async def put(
        self, value: bytes, media_type: str = "application/json", *, summary: str = ""
    ) -> Claim:
        """Store a value and return its claim; storing it again renews it.

        Raises:
            TransientError: `blob_store`, where the store cannot be reached.
        """
        digest = await _sha256(value)
        return await self._put(value, digest, len(value), media_type, summary)

    async def put_file(self, path: Path, media_type: str, *, summary: str = "") -> Claim:
        """Store a file, which is never held in memory, and return its claim.

        Raises:
            TransientError: `blob_store`, where the store cannot be reached.
        """
        digest, size = await asyncio.to_thread(_sha256_of_file, path)
        return await self._put(path, digest, size, media_type, summary)

    async def _put(
        self, value: bytes | Path, digest: str, size: int, media_type: str, summary: str
    ) -> Claim:
        name = f"{digest[:2]}/{digest}"
        try:
            await obstore.put_async(self._store, name, value)
        except Exception as error:
            raise TransientError(f"{self.url} takes no blob: {error}", code="blob_store") from error
        return Claim(
            uri=f"{self.url}/{name}",
            sha256=digest,
            size_bytes=size,
            media_type=media_type,
            summary=summary,
        )

    async def get(self, claim: Claim) -> bytes:
        """Fetch a claimed value and check that it is the one that was claimed.

        Raises:
            UndecodableMessage: `blob_gone`, `blob_changed` or `blob_elsewhere`.
            TransientError: `blob_store`, where the store cannot be reached.
        """
        name = self._name(claim)
        try:
            found = await obstore.get_async(self._store, name)
            as_claimed = found.meta["size"] == claim.size_bytes
            value = bytes(await found.bytes_async()) if as_claimed else b""
        except (NotFoundError, FileNotFoundError):
            raise UndecodableMessage(f"the value {claim.uri} is gone", code="blob_gone") from None
        except Exception as error:
            raise TransientError(
                f"{claim.uri} cannot be read: {error}", code="blob_store"
            ) from error
        if not as_claimed or await _sha256(value) != claim.sha256:
            raise UndecodableMessage(f"{claim.uri} is not what was claimed", code="blob_changed")
        return value

    async def get_file(self, claim: Claim, path: Path) -> None:
        """Fetch a claimed value into a file; where it is not the one, there is no file.

        Raises:
            UndecodableMessage: `blob_gone`, `blob_changed` or `blob_elsewhere`.
            TransientError: `blob_store`, where the store cannot be reached.
        """
        name = self._name(claim)
        try:
            found = await obstore.get_async(self._store, name)
            as_claimed = found.meta["size"] == claim.size_bytes
            if as_claimed:
                await _write(path, found.stream())
                as_claimed = (await asyncio.to_thread(_sha256_of_file, path))[0] == claim.sha256
        except (NotFoundError, FileNotFoundError):
            raise UndecodableMessage(f"the value {claim.uri} is gone", code="blob_gone") from None
        except Exception as error:
            raise TransientError(
                f"{claim.uri} cannot be read: {error}", code="blob_store"
            ) from error
        if not as_claimed:
            await asyncio.to_thread(path.unlink, missing_ok=True)
            raise UndecodableMessage(f"{claim.uri} is not what was claimed", code="blob_changed")

    def _name(self, claim: Claim) -> str:
        name = claim.uri.removeprefix(f"{self.url}/")
        if name == claim.uri or ".." in name.split("/"):
            raise UndecodableMessage(
                f"the value lies in {claim.uri}, this process reads {self.url}: "
                "set STARLINGS_BLOBS_URL alike for all services",
                code="blob_elsewhere",
            )
        return name


async def _sha256(value: bytes) -> str:
    if len(value) > _HASH_ASIDE_BYTES:
        return await asyncio.to_thread(lambda: hashlib.sha256(value).hexdigest())
    return hashlib.sha256(value).hexdigest()


async def _write(path: Path, chunks: AsyncIterable[Any]) -> None:
    with await asyncio.to_thread(path.open, "wb") as file:
        async for chunk in chunks:
            await asyncio.to_thread(file.write, chunk)


def _sha256_of_file(path: Path) -> tuple[str, int]:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest(), path.stat().st_size
