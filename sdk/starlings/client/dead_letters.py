"""Dead letters for people: list them, look into them, send them back, or give them up.

    async with Client() as client:
        for letter in await client.dead_letters.find(state=LetterState.OPEN):
            print(letter.id, letter.last.code, letter.last.message)
        await client.dead_letters.redrive([letter.id])

Sending back is a copy to the partition that the message came from, with the same key and headers.
It is safe to repeat: whoever reads that topic takes the same letter, sent back for the same
burial, for one message. What would do nothing, or harm, is refused with the reason.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime

from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from starlings.blobs import BlobStore, Claim
from starlings.kafka.codec import CLAIM_HEADER, Codec
from starlings.kafka.connection import Connection
from starlings.kafka.dead_letters import claimed_at_burial, original_headers, send_back
from starlings.kafka.letters import Letter, Letters, LetterState
from starlings.kafka.letters_view import read_letters
from starlings.kafka.publisher import Publisher
from starlings.messages import (
    ConfigError,
    DeadLetterDiscarded,
    DeadLetterRedriven,
    Headers,
    Message,
    Origin,
    StarlingsError,
    Topics,
    TransientError,
    UndecodableMessage,
    origin_key,
    read_origin,
)

from .redrive import (
    Content,
    Refused,
    SentBack,
    default_model,
    refuse_by_nature,
    refuse_by_run,
    refuse_by_state,
)
from .view import RunView

REASON_LIMIT = 2_000

Views = Callable[[set[str]], Awaitable[Mapping[str, RunView]]]


class LetterNotFound(StarlingsError):  # noqa: N818 - says what is the case
    """There is no such dead letter (any more)."""

    code = "dead_letter_not_found"


class DeadLetters:
    """The dead letters of one installation; made by a `Client`, as `client.dead_letters`."""

    def __init__(
        self,
        connection: Connection,
        publisher: Publisher,
        *,
        topics: Topics,
        blobs: BlobStore,
        views: Views,
    ) -> None:
        self._connection = connection
        self._publisher = publisher
        self._codec: Codec = publisher.codec
        self._topics = topics
        self._blobs = blobs
        self._views = views

    # -- looking -------------------------------------------------------------------------------

    async def find(
        self,
        *,
        state: LetterState | None = None,
        topic: str | None = None,
        code: str | None = None,
        run_id: str | None = None,
        since: datetime | None = None,
    ) -> list[Letter]:
        """List dead letters, the one that was put aside last at the end.

        `topic` is a name with or without the installation's prefix, `since` the time of the latest
        burial.
        """
        since_ms = since.timestamp() * 1000 if since else 0
        wanted = {topic, f"{self._topics.prefix}{topic}"}
        found = [
            letter
            for letter in await read_letters(self._connection, self._codec, self._topics)
            if (state is None or letter.state is state)
            and (topic is None or letter.origin.topic in wanted)
            and (code is None or letter.last.code == code)
            and (run_id is None or letter.run_id(self._topics) == run_id)
            and letter.last.at_ms >= since_ms
        ]
        return sorted(found, key=lambda letter: letter.last.at_ms)

    async def get(self, name: str) -> Letter:
        """Find one by its id, with or without the installation's prefix.

        Raises:
            LetterNotFound: there is none.
        """
        (letter,) = await self._named([name])
        return letter

    async def content(self, letter: Letter) -> Content:
        """Fetch what a dead letter holds, as it was put aside last.

        Raises:
            LetterNotFound: the topic's retention has deleted it.
            TransientError: Kafka or the blob store cannot be reached.
        """
        return await self._content(letter, await self._record(letter))

    # -- deciding ------------------------------------------------------------------------------

    async def redrive(
        self, names: Sequence[str], *, again: bool = False, force: bool = False, by: str = ""
    ) -> list[SentBack | Refused]:
        """Send messages back to where they came from, in the order in which they lay there.

        Args:
            names: ids of dead letters.
            again: also those that were sent back or discarded before.
            force: also those for whose result nobody waits any more.
            by: who does it, for the letter's history.

        Returns:
            For each letter where its message lies now, or why it was not sent.

        Raises:
            LetterNotFound: there is no such letter; none was sent.
        """
        letters = sorted(await self._named(names), key=lambda letter: letter.origin.offset)
        found = [(letter, await self._record(letter)) for letter in letters]
        contents = [await self._content(letter, record) for letter, record in found]
        runs = {run for letter in letters if (run := letter.run_id(self._topics))}
        views = await self._views(runs)
        outcomes: list[SentBack | Refused] = []
        for (letter, record), content in zip(found, contents, strict=True):
            refused = (
                refuse_by_nature(letter, content, self._topics)
                or refuse_by_state(letter, again=again)
                or (None if force else refuse_by_run(letter, content, views, self._topics))
            )
            outcomes.append(refused or await self._send(letter, record, by))
        return outcomes

    async def discard(self, name: str, reason: str, *, by: str = "") -> Letter:
        """Give a dead letter up: it stays where it is, and is no longer listed as open.

        Raises:
            LetterNotFound: there is no such letter.
            ConfigError: there is no reason.
        """
        if not reason.strip():
            raise ConfigError("a dead letter is discarded for a reason: say which")
        letter = await self.get(name)
        await self._say(
            letter,
            DeadLetterDiscarded(
                origin=letter.id,
                count=letter.redrives,
                reason=reason.strip()[:REASON_LIMIT],
                by=by,
            ),
            letter.redrives,
        )
        return letter

    # -- how -----------------------------------------------------------------------------------

    async def _named(self, names: Sequence[str]) -> Sequence[Letter]:
        letters = await read_letters(self._connection, self._codec, self._topics)
        found: dict[Origin, Letter] = {}
        for name in names:
            letter = _letter_named(letters, name, self._topics)
            if letter is None:
                raise LetterNotFound(
                    f"there is no dead letter {name!r}; `starlings dlq ls --state all` lists them"
                )
            found[letter.origin] = letter
        return list(found.values())

    async def _record(self, letter: Letter) -> ConsumerRecord:
        place = letter.last.place
        try:
            record = await self._connection.record_at(
                TopicPartition(place.topic, place.partition), place.offset
            )
        except (KafkaError, TimeoutError) as error:
            raise TransientError(
                f"{place} cannot be read now: {error!r}", code="kafka_unavailable"
            ) from error
        if record is None:
            raise LetterNotFound(f"{letter.id} lay at {place}, and is there no more (retention)")
        return record

    async def _content(self, letter: Letter, record: ConsumerRecord) -> Content:
        headers = original_headers(record.headers)
        value, problem = record.value, None
        if value is not None and (
            CLAIM_HEADER in dict(headers) or claimed_at_burial(record.headers)
        ):
            try:
                value = await self._blobs.get(Claim.model_validate_json(value))
            except ValueError as error:
                problem = UndecodableMessage(f"its claim check is broken: {error}")
            except UndecodableMessage as error:
                problem = error
        message = None
        if problem is None:
            message, problem = await self._read(letter, headers, value)
        return Content(letter.last.key or None, headers, value, message, problem)

    async def _read(
        self, letter: Letter, headers: Headers, value: bytes | None
    ) -> tuple[Message | None, UndecodableMessage | None]:
        """Read the message as its consumer would, from a value that has been fetched."""
        bare = [(name, v) for name, v in headers if name != CLAIM_HEADER]
        origin = letter.origin
        record = ConsumerRecord(
            origin.topic, origin.partition, origin.offset, letter.last.at_ms, 0,
            letter.last.key, value, None, len(letter.last.key), len(value or b""), tuple(bare),
        )  # fmt: skip
        try:
            default = default_model(origin.topic, self._topics)
            received = await self._codec.decode(record, default=default)
        except UndecodableMessage as error:
            return None, error
        return (received.message if received is not None else None), None

    async def _send(self, letter: Letter, record: ConsumerRecord, by: str) -> SentBack | Refused:
        origin, count = letter.origin, letter.redrives + 1
        partitions = await self._connection.partitions(origin.topic)
        if origin.partition not in partitions:
            why = f"{origin.topic} has no partition {origin.partition} any more"
            return Refused(letter, "no_partition", why)
        to = await send_back(self._publisher, record, origin, count=count, group=letter.last.group)
        said = DeadLetterRedriven(origin=letter.id, count=count, to=str(to), by=by)
        await self._say(letter, said, count)
        return SentBack(letter, to, count)

    async def _say(
        self, letter: Letter, said: DeadLetterRedriven | DeadLetterDiscarded, count: int
    ) -> None:
        origin = letter.origin
        await self._publisher.publish(
            self._topics.dead_letters,
            origin_key(origin.topic, origin.partition, origin.offset),
            said,
            id=f"{letter.id}/{said.NAME}/{count}",
            subject=letter.id,
        )


def _letter_named(letters: Letters, name: str, topics: Topics) -> Letter | None:
    for text in (name, f"{topics.prefix}{name}"):
        origin = read_origin(text)
        if origin is not None and (letter := letters.find(origin)) is not None:
            return letter
    return None
