"""Waiting for a file of this machine, or an object in S3, GCS or Azure.

Where object stores are and who may read them is read from the environment, as their own tools do
(`AWS_…`, `GOOGLE_…`, `AZURE_…`).
"""

from __future__ import annotations

import asyncio
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

import obstore
from obstore.exceptions import (
    GenericError,
    NotFoundError,
    PermissionDeniedError,
    UnauthenticatedError,
)
from obstore.store import from_url
from pydantic import Field

from starlings import Ready, StepFailed, TransientError, Waiting

from .sensor_conditions import Looked


class FileExists(Looked):
    """A file or object exists, and is large enough."""

    wait_for: Literal["file"]
    url: str = Field(
        pattern=r"^(/|file:///|(s3|gs|az|abfs)://[^/?#]+/)[^\x00]+$",
        description="an absolute path, or file:///…, s3://bucket/key, gs://bucket/key, "
        "az://container/path",
    )
    min_size_bytes: int = Field(default=0, ge=0)


async def poke_file(condition: FileExists) -> Ready | Waiting:
    """Look once."""
    local = condition.url.startswith(("/", "file:"))
    found = await (_stat(condition.url) if local else _head(condition.url))
    if found is None:
        return Waiting(retry_after_s=condition.every_s)
    if found["size_bytes"] < condition.min_size_bytes:
        said = f"{found['size_bytes']:,} bytes so far"
        return Waiting(progress=said, retry_after_s=condition.every_s)
    output = {"url": condition.url, **found}
    return Ready(output, summary=f"{condition.url}: {found['size_bytes']:,} bytes")


async def _stat(url: str) -> dict[str, Any] | None:
    path = Path(url2pathname(urlsplit(url).path) if url.startswith("file:") else url)
    try:
        stat = await asyncio.to_thread(path.stat)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise TransientError(f"{path} cannot be looked at: {error}", code="file") from error
    return {"size_bytes": stat.st_size, "modified_s": stat.st_mtime}


async def _head(url: str) -> dict[str, Any] | None:
    parts = urlsplit(url)
    try:
        store = _store(f"{parts.scheme}://{parts.netloc}")
        meta = await obstore.head_async(store, unquote(parts.path).lstrip("/"))
    except (NotFoundError, FileNotFoundError):
        return None
    except (PermissionDeniedError, UnauthenticatedError, PermissionError) as error:
        raise StepFailed(
            f"{url} may not be looked at ({error}); give this agent credentials in its environment",
            code="not_permitted",
        ) from error
    except (GenericError, OSError) as error:
        raise TransientError(f"{url} cannot be looked at: {error}", code="object_store") from error
    modified = meta["last_modified"]
    return {"size_bytes": meta["size"], "modified_s": modified.timestamp()}


@lru_cache(maxsize=64)
def _store(root: str) -> Any:
    return from_url(root)
