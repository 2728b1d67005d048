"""Recorded logs: read, kept in files, folded again, compared, and run again.

What lies here never publishes to a topic that is in use, unless it is told so in as many words.
"""

from __future__ import annotations

from .archive import (
    Archive,
    ArchiveDamaged,
    ArchiveHeader,
    ArchiveWriter,
    create_archive,
    read_archive,
)
from .ranges import Range, ranges_of
from .reading import LogReader
from .recorded_calls import Answers, RecordedCalls
from .source import ArchiveSource, KafkaSource, Source, cuts

__all__ = [
    "Answers",
    "Archive",
    "ArchiveDamaged",
    "ArchiveHeader",
    "ArchiveSource",
    "ArchiveWriter",
    "KafkaSource",
    "LogReader",
    "Range",
    "RecordedCalls",
    "Source",
    "create_archive",
    "cuts",
    "ranges_of",
    "read_archive",
]
