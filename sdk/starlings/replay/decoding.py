"""Reading facts out of records for folding them again, fast: most are of this very version."""

from __future__ import annotations

from aiokafka import ConsumerRecord

from starlings.kafka.codec import CLAIM_HEADER, Codec
from starlings.messages import MESSAGES, Message, StarlingsError, UndecodableMessage, ce_type

_BY_TYPE = {ce_type(name, m.VERSION).encode(): m for name, m in MESSAGES.items()}


class FactReader:
    """Reads facts; what cannot be read is none, and `why` says what that may hide."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self.why = ""  # the fact that was read last, and could not be, may have counted
        self.foreign = 0

    async def read(self, record: ConsumerRecord, headers: dict[str, bytes]) -> Message | None:
        """Read a fact; None where it is not ours, or cannot be read."""
        fact = self.read_plain(record, headers)
        return fact if fact is not None else await self._read_otherwise(record)

    def read_plain(self, record: ConsumerRecord, headers: dict[str, bytes]) -> Message | None:
        """Read a fact that is written in the usual way; None where more has to be done."""
        self.why = ""
        model = _BY_TYPE.get(headers.get("ce_type", b""))
        value = record.value
        if model is not None and value and CLAIM_HEADER not in headers and b"NaN" not in value:
            try:
                fact: Message = model.__pydantic_validator__.validate_json(value)
            except ValueError:
                return None  # the codec says what is wrong with it
            return fact
        return None

    async def _read_otherwise(self, record: ConsumerRecord) -> Message | None:
        try:
            received = await self._codec.decode(record)
        except UndecodableMessage as error:
            self.foreign += 1
            if error.code.startswith("blob"):
                self.why = f"the value at offset {record.offset} is gone: {error}"
            return None
        except (StarlingsError, OSError) as error:
            self.why = f"the value at offset {record.offset} is out of reach: {error}"
            return None
        if received is None:
            self.foreign += 1
            kind = dict(record.headers).get("ce_type", b"").decode(errors="replace")
            self.why = (
                f"{kind or 'what lies'} at offset {record.offset} is not known to this version"
            )
            return None
        return received.message
