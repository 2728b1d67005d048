"""Reading a body while it arrives, up to so many bytes as unpacked and not one more.

A few kilobytes of gzip can stand for gigabytes. So a body is unpacked in small portions, and the
portions are counted before the next one is made.
"""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterable, Iterator

from starlings import StepFailed

ACCEPTED = "gzip, deflate"

_PORTION_BYTES = 65_536
_PLAIN = frozenset({"", "identity"})
_GZIP = 16 + zlib.MAX_WBITS


class Unpacker:
    """Unpacks one body of a `Content-Encoding`, in portions.

    Raises:
        StepFailed: `encoding_unsupported`.
    """

    def __init__(self, encoding: str, url: str) -> None:
        self._url = url
        self._encoding = encoding.strip().lower().removeprefix("x-")
        if self._encoding not in _PLAIN | {"gzip", "deflate"}:
            raise StepFailed(
                f"{url} answered in an encoding that was not asked for ({ACCEPTED} were)",
                code="encoding_unsupported",
            )
        self._stream: zlib._Decompress | None = None

    def unpack(self, data: bytes) -> Iterator[bytes]:
        """Yield what data stands for, in portions of bounded size.

        Raises:
            StepFailed: `encoding_broken`.
        """
        if self._encoding in _PLAIN:
            yield data
            return
        while data:
            stream = self._stream = self._stream or self._begin(data)
            try:
                portion = stream.decompress(data, _PORTION_BYTES)
            except zlib.error as error:
                said = str(error)
            else:
                yield portion
                data = stream.unconsumed_tail
                if stream.eof:
                    self._stream = None
                    data = stream.unused_data if self._encoding == "gzip" else b""
                continue
            raise self._broken(said)

    def end(self) -> bytes:
        """Return what is left at the end of the body.

        Raises:
            StepFailed: `encoding_broken`, where the body ended too soon.
        """
        stream, self._stream = self._stream, None
        if stream is None:
            return b""
        rest = stream.flush()
        if not stream.eof:
            raise self._broken("it ends too soon")
        return rest

    def _begin(self, data: bytes) -> zlib._Decompress:
        if self._encoding == "gzip":
            return zlib.decompressobj(_GZIP)
        # `deflate` has a header (RFC 9110), but some servers leave it out
        has_header = data[0] & 0x0F == zlib.DEFLATED
        return zlib.decompressobj(zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS)

    def _broken(self, said: str) -> StepFailed:
        return StepFailed(
            f"{self._url} sent broken {self._encoding}: {said}", code="encoding_broken"
        )


async def read_body(
    chunks: AsyncIterable[bytes], unpacker: Unpacker, *, limit_bytes: int, cut: bool = False
) -> bytes | None:
    """Read a body to its end; one that is larger than the limit, as sent or as unpacked, is cut.

    Without `cut`, None stands for such a body.

    Raises:
        StepFailed: `encoding_broken`.
    """
    body = bytearray()
    received = 0
    async for chunk in chunks:
        received += len(chunk)
        for portion in unpacker.unpack(chunk):
            body += portion
            if max(len(body), received) > limit_bytes:
                return bytes(body[:limit_bytes]) if cut else None
    body += unpacker.end()
    return bytes(body[:limit_bytes]) if cut or len(body) <= limit_bytes else None
