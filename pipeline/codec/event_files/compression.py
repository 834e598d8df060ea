"""Compression. Decompressed bytes come in pieces of bounded size, however much the input expands.

zstd is the module of the standard library (from Python 3.14 on) or its backport.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Iterator
from typing import Protocol

from pipeline.domain.errors import DamagedError
from pipeline.domain.event_file import Encoding

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PIECE_BYTES = 1 << 21
FRAME_BYTES = 1 << 19
_MAGIC = {b"\x28\xb5\x2f\xfd": Encoding.ZSTD, b"\x1f\x8b": Encoding.GZIP}


def sniff(start: bytes) -> Encoding:
    """Return the encoding of a file from its first bytes, 4 or more."""
    return next((encoding for magic, encoding in _MAGIC.items() if start.startswith(magic)), Encoding.PLAIN)


def compress_frame(data: bytes, level: int) -> bytes:
    """Return `data` as one zstd frame."""
    return zstd.compress(data, level)


class Compressor:
    """Compresses data into zstd frames that hold `FRAME_BYTES` of it or more.

    Compressing a frame in one call takes three quarters of the time of compressing it piece by piece: nothing is
    copied, and no matches are sought across pieces. It runs without the interpreter's lock.
    """

    def __init__(self, level: int) -> None:
        self._compressor = zstd.ZstdCompressor(level=level)
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0

    def add(self, data: bytes) -> bytes:
        """Return the compressed bytes that are ready; possibly none."""
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        return self._frame() if self._waiting_bytes >= FRAME_BYTES else b""

    def finish(self) -> bytes:
        """Return the rest."""
        return self._frame() if self._waiting_bytes else b""

    def _frame(self) -> bytes:
        data, self._waiting, self._waiting_bytes = b"".join(self._waiting), [], 0
        return self._compressor.compress(data, zstd.ZstdCompressor.FLUSH_FRAME)


class Decoder(Protocol):
    """Decompresses bytes into pieces of at most `PIECE_BYTES`."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the decompressed pieces of the next stored bytes. DamagedError when they have another encoding."""
        ...

    def close(self) -> None:
        """Raise DamagedError when the stored bytes ended within a frame."""
        ...


class PlainDecoder:
    """No compression."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the bytes in pieces."""
        for start in range(0, len(data), PIECE_BYTES):
            yield data[start : start + PIECE_BYTES]

    def close(self) -> None:
        """Do nothing: plain bytes can end anywhere."""


class ZstdDecoder:
    """Any number of zstd frames; skippable frames are ignored."""

    def __init__(self) -> None:
        self._frame = zstd.ZstdDecompressor()
        self._started = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the decompressed pieces."""
        try:
            while data or not self._frame.needs_input:
                self._started = True
                piece = self._frame.decompress(data, PIECE_BYTES)
                data = b""
                if piece:
                    yield piece
                if self._frame.eof:
                    data = self._frame.unused_data
                    self._frame = zstd.ZstdDecompressor()
                    self._started = False
        except zstd.ZstdError as error:
            raise DamagedError(f"the zstd data is damaged: {error}") from error

    def close(self) -> None:
        """Raise DamagedError when the last frame is incomplete."""
        if self._started:
            raise DamagedError("the zstd data is truncated: it ends within a frame")


class GzipDecoder:
    """Any number of gzip members."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(wbits=31)
        self._started = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the decompressed pieces."""
        try:
            while data:
                self._started = True
                piece = self._member.decompress(data, PIECE_BYTES)
                data = self._member.unconsumed_tail
                if piece:
                    yield piece
                if self._member.eof:
                    data = self._member.unused_data
                    self._member = zlib.decompressobj(wbits=31)
                    self._started = False
        except zlib.error as error:
            raise DamagedError(f"the gzip data is damaged: {error}") from error

    def close(self) -> None:
        """Raise DamagedError when the last member is incomplete."""
        if self._started:
            raise DamagedError("the gzip data is truncated: it ends within a member")


def decoder(encoding: Encoding) -> Decoder:
    """Return a new decoder for `encoding`."""
    match encoding:
        case Encoding.ZSTD:
            return ZstdDecoder()
        case Encoding.GZIP:
            return GzipDecoder()
        case Encoding.PLAIN:
            return PlainDecoder()
