"""The lines of a file of an export: plain, gzip or zstd; with a byte order mark, CRLF and blank lines, or without."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable
from hashlib import sha256

from pipeline.codec.event_files.compression import Decoder, sniff
from pipeline.codec.event_files.event_file import MAX_LINE_BYTES
from pipeline.connectors.sam.listing import BYTE_ORDER_MARK
from pipeline.domain.errors import DamagedError, UnreadableError

Line = tuple[int, bytes]
"""The number of a line, from 1 on, and its bytes without the line end."""
_WIDE_MARKS = (b"\xff\xfe", b"\xfe\xff")
_SNIFFED_BYTES = 4


async def read_lines(pieces: AsyncIterable[bytes], name: str, digest: str) -> AsyncGenerator[list[Line], None]:
    """Yield the lines that are not blank, in batches. UnreadableError names the file and the line.

    `digest` is the SHA-256 that the listing states, or empty. It is checked at the end.
    """
    splitter, checksum = _Splitter(name), sha256()
    async for piece in pieces:
        checksum.update(piece)
        for batch in splitter.feed(piece):
            yield batch
    if digest and checksum.hexdigest() != digest:
        raise UnreadableError(f"the file {name} is damaged: its SHA-256 is not the one in the listing")
    for batch in splitter.close():
        yield batch


class _Splitter:
    """Cuts stored bytes into lines. An incomplete line is held until its end arrives."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._start = b""
        self._decoder: Decoder | None = None
        self._rest: list[bytes] = []
        self._rest_bytes = 0
        self._number = 0

    def feed(self, piece: bytes) -> list[list[Line]]:
        if self._decoder is None:
            self._start += piece
            if len(self._start) < _SNIFFED_BYTES:
                return []
            return self._begin()
        return self._decode(self._decoder, piece)

    def close(self) -> list[list[Line]]:
        """Return the last line, which may have no end."""
        batches = self._begin() if self._decoder is None else []
        assert self._decoder is not None
        try:
            self._decoder.close()
        except DamagedError as error:
            raise UnreadableError(f"the file {self._name} is half written or damaged: {error}") from error
        return [*batches, self._lines(b"".join(self._rest) + b"\n")]

    def _begin(self) -> list[list[Line]]:
        self._decoder = Decoder(sniff(self._start))
        return self._decode(self._decoder, self._start)

    def _decode(self, decoder: Decoder, piece: bytes) -> list[list[Line]]:
        try:
            return [batch for data in decoder.feed(piece) if (batch := self._split(data))]
        except DamagedError as error:
            raise UnreadableError(f"the file {self._name}: {error}") from error

    def _split(self, data: bytes) -> list[Line]:
        end = data.rfind(b"\n") + 1
        if not end:
            self._hold(data)
            return []
        block = b"".join([*self._rest, data[:end]])
        self._rest, self._rest_bytes = [], 0
        self._hold(data[end:])
        return self._lines(block)

    def _hold(self, data: bytes) -> None:
        self._rest.append(data)
        self._rest_bytes += len(data)
        if self._rest_bytes > MAX_LINE_BYTES:
            self._rest = []
            raise UnreadableError(
                f"the file {self._name}, line {self._number + 1}: it has more than {MAX_LINE_BYTES:,} bytes"
            )

    def _lines(self, block: bytes) -> list[Line]:
        if self._number == 0:
            if block.startswith(_WIDE_MARKS):
                raise UnreadableError(f"the file {self._name} is UTF-16; an export is UTF-8")
            block = block.removeprefix(BYTE_ORDER_MARK)
        lines = block.split(b"\n")[:-1]
        first, self._number = self._number + 1, self._number + len(lines)
        return [(number, line) for number, line in enumerate(lines, first) if line and not line.isspace()]
