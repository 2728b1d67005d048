"""The store of one instance that reads: documents in SQLite, found by words and by meaning.

It is built from the log alone. What it holds and how far it has read are written in one
transaction, so it can be killed at any moment, deleted, or shared by several processes of a
machine; a batch that another one has taken already changes nothing.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog
from pydantic import ValidationError

from .changes import KnowledgeChange, Positions
from .log import Record
from .passages import passages

log = structlog.get_logger(__name__)

VERSION = 1
BUSY_S = 30.0
_WORD = re.compile(r"\w+")
_MOST_WORDS = 64
_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE position (partition INTEGER PRIMARY KEY, next INTEGER NOT NULL);
CREATE TABLE document (
    id TEXT PRIMARY KEY, title TEXT NOT NULL, source TEXT NOT NULL, at TEXT NOT NULL
);
CREATE TABLE passage (
    id INTEGER PRIMARY KEY, document TEXT NOT NULL, number INTEGER NOT NULL, vector BLOB
);
CREATE INDEX passage_of_document ON passage (document);
CREATE VIRTUAL TABLE words USING fts5(
    text, title, tokenize = 'porter unicode61 remove_diacritics 2'
);
"""


@dataclass(frozen=True)
class Passage:
    """A part of a document."""

    id: int
    document: str
    number: int
    title: str
    source: str
    text: str


class Store:
    """A SQLite file; each call opens it anew. Its calls block: use threads."""

    def __init__(self, path: Path, name: str) -> None:
        self._path = path
        self._name = name

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self._path, timeout=BUSY_S, isolation_level=None)
        with closing(connection):
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("BEGIN IMMEDIATE")
            try:
                self._prepare(connection)
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    def _prepare(self, connection: sqlite3.Connection) -> None:
        """Make the tables; those of another version or another log are dropped."""
        found = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        wanted = f"{VERSION} {self._name}"
        if ("meta",) in found:
            made_for = _meta(connection, "made_for")
            if made_for == wanted:
                return
            for table in ("words", "passage", "document", "position", "meta"):
                connection.execute(f"DROP TABLE IF EXISTS {table}")
        for statement in _SCHEMA.split(";")[:-1]:
            connection.execute(statement)
        connection.execute("INSERT INTO meta VALUES ('made_for', ?)", (wanted,))

    def positions(self) -> dict[int, int]:
        """Say how far it has read."""
        with self._open() as connection:
            return dict(connection.execute("SELECT partition, next FROM position"))

    def clear(self) -> None:
        """Forget everything, also how far it has read."""
        with self._open() as connection:
            for table in ("words", "passage", "document", "position"):
                connection.execute(f"DELETE FROM {table}")  # noqa: S608 - our own names

    def take(self, records: Sequence[Record], positions: Positions) -> None:
        """Take in a batch of the log, and how far that reaches."""
        with self._open() as connection:
            known = dict(connection.execute("SELECT partition, next FROM position"))
            for record in records:
                if record.offset >= known.get(record.partition, 0):
                    _apply(connection, record)
            connection.executemany(
                "INSERT INTO position VALUES (?, ?) ON CONFLICT (partition) DO UPDATE "
                "SET next = max(next, excluded.next)",
                list(positions.items()),
            )

    def count(self) -> int:
        """Count the documents."""
        with self._open() as connection:
            return int(connection.execute("SELECT count(*) FROM document").fetchone()[0])

    # -- finding -------------------------------------------------------------------------------

    def by_words(self, query: str, limit: int) -> list[int]:
        """Rank passages by the words of a query (BM25, the title counts twice)."""
        words = list(dict.fromkeys(_WORD.findall(query)))[:_MOST_WORDS]
        if not words:
            return []
        wanted = " OR ".join(f'"{word}"' for word in words)
        with self._open() as connection:
            rows = connection.execute(
                "SELECT words.rowid FROM words JOIN passage ON passage.id = words.rowid "
                "WHERE words MATCH ? ORDER BY bm25(words, 1.0, 2.0), passage.document, "
                "passage.number LIMIT ?",
                (wanted, limit),
            )
            return [row[0] for row in rows]

    def get(self, ids: Sequence[int]) -> list[Passage]:
        """Fetch passages, in the order asked for."""
        with self._open() as connection:
            rows = (
                connection.execute(
                    "SELECT passage.id, document, number, document.title, source, words.text "
                    "FROM passage JOIN document ON document.id = passage.document "
                    "JOIN words ON words.rowid = passage.id WHERE passage.id = ?",
                    (id_,),
                ).fetchone()
                for id_ in ids
            )
            return [Passage(*row) for row in rows if row is not None]

    # -- meaning -------------------------------------------------------------------------------

    def use_model(self, model: str) -> None:
        """Drop vectors of another model: they cannot be compared with this one's."""
        with self._open() as connection:
            if _meta(connection, "model") != model:
                connection.execute("UPDATE passage SET vector = NULL")
                connection.execute("INSERT OR REPLACE INTO meta VALUES ('model', ?)", (model,))

    def without_vector(self, limit: int) -> list[tuple[int, str]]:
        """List passages that have no vector yet, with their texts."""
        with self._open() as connection:
            return connection.execute(
                "SELECT passage.id, words.text FROM passage JOIN words ON words.rowid = passage.id "
                "WHERE vector IS NULL ORDER BY passage.id LIMIT ?",
                (limit,),
            ).fetchall()

    def put_vectors(self, vectors: Sequence[tuple[int, bytes]]) -> None:
        """Keep vectors of passages; those of passages that are gone change nothing."""
        with self._open() as connection:
            connection.executemany(
                "UPDATE passage SET vector = ? WHERE id = ?", [(v, i) for i, v in vectors]
            )

    def vectors(self) -> list[tuple[int, bytes]]:
        """Fetch all vectors, in the order of documents."""
        with self._open() as connection:
            return connection.execute(
                "SELECT id, vector FROM passage WHERE vector IS NOT NULL ORDER BY document, number"
            ).fetchall()


def _meta(connection: sqlite3.Connection, name: str) -> str | None:
    row = connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
    return row[0] if row else None


def _apply(connection: sqlite3.Connection, record: Record) -> None:
    change = None
    if record.value is not None:
        try:
            change = KnowledgeChange.model_validate_json(record.value)
        except ValidationError:
            log.warning("not a change of knowledge", document=record.document, offset=record.offset)
            return
    document = change.document if change else record.document
    connection.execute(
        "DELETE FROM words WHERE rowid IN (SELECT id FROM passage WHERE document = ?)", (document,)
    )
    connection.execute("DELETE FROM passage WHERE document = ?", (document,))
    connection.execute("DELETE FROM document WHERE id = ?", (document,))
    if change is None or change.change == "forgotten":
        return
    row = (document, change.title, change.source, change.at.isoformat())
    connection.execute("INSERT INTO document VALUES (?, ?, ?, ?)", row)
    for number, text in enumerate(passages(change.text)):
        made = connection.execute(
            "INSERT INTO passage (document, number) VALUES (?, ?)", (document, number)
        )
        connection.execute(
            "INSERT INTO words (rowid, text, title) VALUES (?, ?, ?)",
            (made.lastrowid, text, change.title),
        )
