"""Ranking by meaning: vectors of an embedding model."""

from __future__ import annotations

from collections.abc import Sequence

import httpx
import numpy as np
from numpy.typing import NDArray

from starlings import TransientError
from starlings.llm import LlmSettings
from starlings.llm.settings import OPENAI_URL
from starlings.service import load_settings

AT_ONCE = 64
_TIMEOUT_S = 20.0

Vectors = NDArray[np.float32]


async def embed(model: str, texts: Sequence[str]) -> Vectors:
    """Ask for the vectors of texts, each of length one.

    Raises:
        TransientError: `embedding_failed`; the words of a query still rank.
    """
    settings = load_settings(LlmSettings)
    key = settings.openai_api_key
    headers = {"authorization": f"Bearer {key.get_secret_value()}"} if key else {}
    url = f"{settings.openai_base_url or OPENAI_URL}/embeddings"
    try:
        async with httpx.AsyncClient(timeout=_TIMEOUT_S) as client:
            asked = {"model": model, "input": list(texts)}
            response = await client.post(url, json=asked, headers=headers)
            response.raise_for_status()
            data = sorted(response.json()["data"], key=lambda each: each["index"])
        vectors = np.array([each["embedding"] for each in data], dtype=np.float32)
        _check(vectors, len(texts))
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
        said = f"{type(error).__name__}: {error}"[:200]
        raise TransientError(
            f"no vectors of {model!r} (STARLINGS_KNOWLEDGE_EMBEDDING_MODEL): {said}",
            code="embedding_failed",
        ) from None
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Vectors = vectors / np.maximum(lengths, np.float32(1e-12))
    return unit


def _check(vectors: Vectors, wanted: int) -> None:
    if vectors.ndim != 2 or len(vectors) != wanted or not np.isfinite(vectors).all():  # noqa: PLR2004
        raise ValueError("the server gave not one vector of one length for each text")


def by_meaning(stored: Sequence[tuple[int, bytes]], wanted: Vectors, limit: int) -> list[int]:
    """Rank passages by how near their vectors are."""
    fits = [(id_, blob) for id_, blob in stored if len(blob) == wanted.nbytes]
    if not fits:
        return []
    matrix = np.frombuffer(b"".join(blob for _, blob in fits), dtype=np.float32)
    nearness = matrix.reshape(len(fits), -1) @ wanted
    best = np.argsort(-nearness, kind="stable")[:limit]
    return [fits[int(at)][0] for at in best]
