"""The read side: answers queries from its own store, and says how far behind the log that is.

An instance reads on by itself, and a query reads what is left first, for a while at most; several
at once read on together. Where the log cannot be reached, it answers from what it has, unless the
query asks for a position.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
from types import ModuleType
from typing import Any
from weakref import WeakKeyDictionary

import structlog
from pydantic import BaseModel, ConfigDict, Field

from starlings import Agent, Result, StepContext, StepFailed, TransientError
from starlings.service import load_settings

from .changes import read_positions, write_positions
from .log import KnowledgeLog, knowledge_log
from .ranking import joined
from .settings import KnowledgeSettings, topics
from .store import Passage, Store

log = structlog.get_logger(__name__)

RANKED = 100
READ_AT_ONCE_S = 1.0  # by itself, so that no query waits long for its turn
_VECTORS_PER_QUERY = 512

query = Agent(
    "knowledge_query",
    description="Finds what the knowledge base says about a question: passages with their sources",
    topics=topics,
)


class Query(BaseModel):
    """A question, and how fresh the answer has to be."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    query: str | None = Field(default=None, min_length=1, max_length=10_000)
    limit: int = Field(default=5, ge=1, le=50)
    at_least: str | None = Field(
        default=None, description="a position that `learn` returned: the answer is not older"
    )


@query.step
async def answer(task: str, ctx: StepContext, asked: Query | None = None) -> Result:
    """Find passages."""
    asked = asked or Query()
    words = asked.query or ctx.task or task
    if not words.strip():
        raise StepFailed("say in `task` or `input: {query: …}` what to find", code="input_invalid")
    reader = reader_of(knowledge_log())
    lag = await reader.catch_up(read_positions(asked.at_least or ""))
    found, ranked_by, problem = await reader.find(words, asked.limit)
    output: dict[str, Any] = {
        "passages": [_shown(passage, score) for passage, score in found],
        "ranked_by": ranked_by,
        "lag": lag | ({"problem": problem} if problem else {}),
    }
    summary = "; ".join(f"{p.title or p.document}: {p.text[:100]}" for p, _ in found[:3])
    return Result(output=output, summary=summary or "the knowledge base says nothing about it")


@query.alongside
async def keep_up() -> None:
    """Read on from time to time, so that little is left to read when somebody asks."""
    every_s = load_settings(KnowledgeSettings).follow_s
    said: Any = 0
    while True:
        behind, why = None, ""
        try:
            lag = await reader_of(knowledge_log()).catch_up({}, at_most_s=READ_AT_ONCE_S)
            behind, why = lag["behind"], lag.get("problem", "")
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
        if behind != said:
            tell = log.info if behind is not None else log.warning
            tell("reading the knowledge base", behind=behind, problem=why)
        said = behind
        if not behind:
            await asyncio.sleep(every_s)


def _shown(passage: Passage, score: float) -> dict[str, Any]:
    return {
        "document": passage.document,
        "passage": passage.number,
        "title": passage.title,
        "source": passage.source,
        "text": passage.text,
        "score": round(score, 6),
    }


class Reader:
    """One instance's view of a log."""

    def __init__(self, log: KnowledgeLog, store: Store, settings: KnowledgeSettings) -> None:
        self._log = log
        self._store = store
        self._settings = settings
        self._turn = asyncio.Lock()
        self._begun = 0
        self._lag: dict[str, Any] = {}

    async def catch_up(
        self, at_least: dict[int, int], *, at_most_s: float = math.inf
    ) -> dict[str, Any]:
        """Read on, and say how far behind that leaves us.

        Raises:
            TransientError: `knowledge_behind`: it has not come as far as was asked.
        """
        wanted = self._begun + 1
        async with self._turn:
            if self._begun < wanted:  # else somebody began to read after we had asked
                self._begun += 1
                self._lag = await self._read_on(min(at_most_s, self._settings.catch_up_s))
        lag, positions = self._lag, await asyncio.to_thread(self._store.positions)
        if any(positions.get(partition, 0) < offset for partition, offset in at_least.items()):
            raise TransientError(
                f"this instance has read up to {write_positions(positions) or 'nothing'}, and "
                f"{write_positions(at_least)} was asked for; {lag.get('problem', 'it reads on')}",
                code="knowledge_behind",
                retry_after_s=1.0,
            )
        return lag

    async def _read_on(self, for_s: float) -> dict[str, Any]:
        positions = await asyncio.to_thread(self._store.positions)
        try:
            ends = await self._log.read(
                positions,
                lambda records, after: asyncio.to_thread(self._store.take, records, after),
                start_anew=lambda: asyncio.to_thread(self._store.clear),
                for_s=for_s,
            )
        except TransientError as error:
            at = write_positions(positions)
            return {"behind": None, "position": at, "problem": str(error)}
        positions = await asyncio.to_thread(self._store.positions)
        behind = sum(max(end - positions.get(number, 0), 0) for number, end in ends.items())
        return {"behind": behind, "position": write_positions(positions)}

    async def find(self, words: str, limit: int) -> tuple[list[tuple[Passage, float]], str, str]:
        """Rank passages: by words, and by meaning where there is a model for that."""
        ranked = await asyncio.to_thread(self._store.by_words, words, RANKED)
        near: list[int] = []
        problem, ranked_by = "", "words"
        if self._settings.embedding_model:
            try:
                near = await self._by_meaning(self._settings.embedding_model, words)
                ranked_by = "words and meaning"
            except TransientError as error:
                problem = str(error)
        best = joined(ranked, near)[:limit]
        scores = dict(best)
        found = await asyncio.to_thread(self._store.get, [id_ for id_, _ in best])
        return [(passage, scores[passage.id]) for passage in found], ranked_by, problem

    async def _by_meaning(self, model: str, words: str) -> list[int]:
        meaning = _meaning()

        await asyncio.to_thread(self._store.use_model, model)
        missing = await asyncio.to_thread(self._store.without_vector, _VECTORS_PER_QUERY)
        for at in range(0, len(missing), meaning.AT_ONCE):
            part = missing[at : at + meaning.AT_ONCE]
            made = await meaning.embed(model, [text for _, text in part])
            kept = [(id_, vector.tobytes()) for (id_, _), vector in zip(part, made, strict=True)]
            await asyncio.to_thread(self._store.put_vectors, kept)
        wanted = (await meaning.embed(model, [words]))[0]
        stored = await asyncio.to_thread(self._store.vectors)
        return await asyncio.to_thread(meaning.by_meaning, stored, wanted, RANKED)


def _meaning() -> ModuleType:
    try:
        from . import meaning  # noqa: PLC0415 - an extra, for those who use it
    except ModuleNotFoundError as error:
        raise StepFailed(
            f"STARLINGS_KNOWLEDGE_EMBEDDING_MODEL needs {error.name}: pip install "
            "'starlings-agents[knowledge]', or leave the setting out",
            code="embedding_unavailable",
        ) from None
    return meaning


_readers: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, Reader]] = WeakKeyDictionary()


def reader_of(log: KnowledgeLog) -> Reader:
    """Return this process's reader of a log."""
    readers = _readers.setdefault(asyncio.get_running_loop(), {})
    if log.name not in readers:
        settings = load_settings(KnowledgeSettings)
        digest = hashlib.sha256(log.name.encode()).hexdigest()[:12]
        path = log.store or settings.store_of(f"{settings.base}-{digest}")
        readers[log.name] = Reader(log, Store(path, log.name), settings)
    return readers[log.name]
