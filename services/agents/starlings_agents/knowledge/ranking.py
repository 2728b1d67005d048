"""Joining rankings of different kinds into one, by ranks alone: their scores cannot be compared."""

from __future__ import annotations

from collections.abc import Sequence

_SHARED = 60  # of reciprocal rank fusion: Cormack, Clarke, Buettcher 2009


def joined(*rankings: Sequence[int]) -> list[tuple[int, float]]:
    """Join rankings by reciprocal ranks, the best first; of equals, the earlier one stays first."""
    scores: dict[int, float] = {}
    for ranking in rankings:
        for rank, id_ in enumerate(ranking, 1):
            scores[id_] = scores.get(id_, 0.0) + 1 / (_SHARED + rank)
    return sorted(scores.items(), key=lambda item: -item[1])
