"""The write side: takes commands, and says what has been learned and forgotten.

A command that is repeated says the same about the same document again, so it may come twice. The
position that it returns lets a query wait until it can see what was written.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from starlings import Agent, Result, StepContext, StepFailed

from .changes import (
    LONGEST_RECORD_BYTES,
    LONGEST_TEXT_BYTES,
    DocumentId,
    KnowledgeChange,
    write_positions,
)
from .log import knowledge_log
from .settings import topics

agent = Agent(
    "knowledge",
    description="Learns texts for the knowledge base, and forgets them",
    instructions="Learn texts word for word; invent nothing.",
    topics=topics,
)


class Document(BaseModel):
    """A text to be learned."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: str = Field(min_length=1)
    title: str = Field(default="", max_length=500)
    source: str = Field(default="", max_length=2_000)
    document: DocumentId | None = Field(default=None, description="its id; else made of its text")


@agent.tool(idempotent=True)
async def learn(  # noqa: D417 - the model sees no `ctx`
    text: Annotated[str, Field(min_length=1)],
    ctx: StepContext,
    title: Annotated[str, Field(max_length=500)] = "",
    source: Annotated[str, Field(max_length=2_000)] = "",
    document: DocumentId | None = None,
) -> Result:
    """Learns a text.

    Args:
        text: the text itself.
        title: what it is called.
        source: where it comes from, such as its address.
        document: its id; a text learned under the same id replaces it.
    """
    one = Document(text=text, title=title, source=source, document=document)
    return await _say([_learned(one, ctx)])


@agent.tool(idempotent=True)
async def learn_many(
    documents: Annotated[list[Document], Field(min_length=1, max_length=1_000)], ctx: StepContext
) -> Result:
    """Learns up to 1,000 texts, each with its title, source and id."""
    changes = [_learned(document, ctx) for document in documents]
    return await _say(list({change.document: change for change in changes}.values()))


@agent.tool(idempotent=True)
async def forget(document: DocumentId, ctx: StepContext) -> Result:
    """Forgets a document by its id; one that is not known is no error."""
    change = KnowledgeChange(
        change="forgotten", document=document, by=ctx.idempotency_key, at=datetime.now(UTC)
    )
    return await _say([change])


def _learned(document: Document, ctx: StepContext) -> KnowledgeChange:
    size = len(document.text.encode("utf-8", "replace"))
    if size > LONGEST_TEXT_BYTES:
        raise StepFailed(
            f"the text {document.title[:80]!r} has {size:,} bytes, and the limit is "
            f"{LONGEST_TEXT_BYTES:,}; learn it in parts",
            code="text_too_long",
        )
    digest = hashlib.sha256(document.text.encode("utf-8", "replace")).hexdigest()[:24]
    change = KnowledgeChange(
        change="learned",
        document=document.document or f"text-{digest}",
        text=document.text.encode("utf-8", "replace").decode(),
        title=document.title,
        source=document.source,
        by=ctx.idempotency_key,
        at=datetime.now(UTC),
    )
    written = len(change.model_dump_json().encode())
    if written > LONGEST_RECORD_BYTES:
        raise StepFailed(
            f"the text {document.title[:80]!r} has {written:,} bytes as JSON, and the limit is "
            f"{LONGEST_RECORD_BYTES:,}; learn it in parts",
            code="text_too_long",
        )
    return change


async def _say(changes: list[KnowledgeChange]) -> Result:
    positions = await knowledge_log().append(changes)
    documents = [change.document for change in changes]
    output: dict[str, Any] = {"documents": documents, "position": write_positions(positions)}
    what = documents[0] if len(documents) == 1 else f"{len(documents)} documents"
    return Result(output=output, summary=f"{changes[0].change} {what}", undo=False)
