"""Compression. Decompressed bytes come in pieces of bounded size, however much the input expands.

zstd is the module of the standard library (from Python 3.14 on) or its backport.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Iterator
from typing import Any

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


class Decoder:
    """Decompresses bytes of one encoding, any number of frames, into pieces of at most `PIECE_BYTES`."""

    def __init__(self, encoding: Encoding) -> None:
        self._encoding = encoding
        self._frame = self._new_frame()
        self._started = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the decompressed pieces of the next stored bytes. DamagedError when they have another encoding."""
        if self._frame is None:
            yield from (data[start : start + PIECE_BYTES] for start in range(0, len(data), PIECE_BYTES))
            return
        try:
            while data or self._has_output():
                self._started = True
                piece = self._frame.decompress(data, PIECE_BYTES)
                data = getattr(self._frame, "unconsumed_tail", b"")  # zstd keeps the rest itself
                if piece:
                    yield piece
                if self._frame.eof:
                    data, self._frame, self._started = self._frame.unused_data, self._new_frame(), False
        except (zstd.ZstdError, zlib.error) as error:
            raise DamagedError(f"the {self._encoding.value} data is damaged: {error}") from error

    def close(self) -> None:
        """Raise DamagedError when the stored bytes ended within a frame."""
        if self._started:
            raise DamagedError(f"the {self._encoding.value} data is truncated: it ends within a frame")

    def _new_frame(self) -> Any:
        match self._encoding:
            case Encoding.ZSTD:
                return zstd.ZstdDecompressor()
            case Encoding.GZIP:
                return zlib.decompressobj(wbits=31)
            case Encoding.PLAIN:
                return None

    def _has_output(self) -> bool:
        return self._encoding is Encoding.ZSTD and not self._frame.needs_input
