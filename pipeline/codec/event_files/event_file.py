"""Event Files: compressed JSON lines, with the header in a frame of its own.

The writer collects records and adds the header last, when the row count is known. The reader takes stored bytes as they
arrive and yields blocks of whole lines; it buffers no more than a block and one line.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipeline.codec.event_files.array_lines import NamedLines
from pipeline.codec.event_files.compression import Compressor, Decoder, compress_frame, sniff
from pipeline.codec.event_files.header import decode_header, encode_header
from pipeline.codec.values import count_lines
from pipeline.codec.wire import damaged_as
from pipeline.domain.errors import DamagedError
from pipeline.domain.event_file import Encoding, Header

MAX_LINE_BYTES = 512 * 1024 * 1024
"""The longest line: it must fit into memory several times."""
MAX_HEADER_BYTES = 16 * 1024 * 1024
"""The longest header line: enough for some hundred thousand columns."""
MAX_EVENT_FILE_BYTES = 1024 * 1024 * 1024
"""The most bytes of lines in one Event File: more than the largest setting and the longest line together.

A few kilobytes of compressed data can expand to more than any disk holds.
"""


def too_long(size: int) -> str:
    """Return why a record whose line has `size` bytes cannot be moved, and what to do."""
    return (
        f"it takes {size:,} bytes in an Event File, where a record has at most {MAX_LINE_BYTES:,}; shorten its largest value, "
        "or move it by hand and leave the table out with --exclude"
    )


class EventFileWriter:
    """Collects the records of one Event File, compressed, in memory. `arrays`: it has upserts that are arrays."""

    def __init__(self, *, level: int) -> None:
        self._level = level
        self._compressor = Compressor(level)
        self._frames: list[bytes] = []
        self.line_bytes = 0
        self.upserts = 0
        self.deletes = 0
        self.arrays = False

    @property
    def records(self) -> int:
        """The number of records added."""
        return self.upserts + self.deletes

    def add(self, lines: bytes, *, upserts: int = 0, deletes: int = 0) -> None:
        """Add whole lines that hold this many records: `count` and `compress` in one call."""
        self.count(lines, upserts=upserts, deletes=deletes)
        self.compress([lines])

    def count(self, lines: bytes, *, upserts: int = 0, deletes: int = 0) -> None:
        """Count lines that `compress` will get."""
        self.line_bytes += len(lines)
        self.upserts += upserts
        self.deletes += deletes

    def compress(self, added: Sequence[bytes]) -> None:
        """Compress lines that were counted, in the same order. Takes about 3 ms of processor time a megabyte."""
        self._frames += map(self._compressor.add, added)

    def finish(self, header: Header) -> bytes:
        """Return the bytes of the Event File. `header.row_count` MUST be the number of records added."""
        head = compress_frame(encode_header(header), self._level)
        return b"".join([head, *self._frames, self._compressor.finish()])


class EventFileReader:
    """Reads one Event File piece by piece; `what` names it in errors.

    Feed the stored bytes in order, then close. `header` is set once its line was fed. Arrays of values become objects,
    unless `arrays` leaves them as they are.
    """

    def __init__(
        self,
        encoding: Encoding | None,
        *,
        what: str = "the Event File",
        max_line_bytes: int = MAX_LINE_BYTES,
        arrays: bool = False,
    ) -> None:
        self._what = what
        self._max_line_bytes = max_line_bytes
        self._arrays = arrays
        self._names: NamedLines | None = None
        self._decoder: Decoder | None = None if encoding is None else Decoder(encoding)
        self._sniffed = b""
        self._rest: list[bytes] = []
        self._rest_bytes = 0
        self._read_bytes = 0
        self.header: Header | None = None
        self.lines = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the record lines that `data` completes, in blocks of whole lines. DamagedError when malformed."""
        if self._decoder is None:
            self._sniffed += data
            if len(self._sniffed) < 4:
                return
            self._decoder, data, self._sniffed = Decoder(sniff(self._sniffed)), self._sniffed, b""
        try:
            for piece in self._decoder.feed(data):
                self._count(piece)
                yield from self._split(piece)
        except DamagedError as error:
            raise self._named(error) from error

    def close(self) -> None:
        """Raise DamagedError unless the file is complete: all frames, whole lines, and the row count of the header."""
        if self._decoder is None and self._sniffed:
            for _ in self.feed(b"\n\n\n\n"[: 4 - len(self._sniffed)]):
                pass
        try:
            if self._decoder is not None:
                self._decoder.close()
        except DamagedError as error:
            raise self._named(error) from error
        if self._rest_bytes:
            raise damaged_as(self._what, f"is truncated: line {self.lines + 2} has no end")
        if self.header is None:
            raise damaged_as(self._what, "is empty: it has no header line")
        if self.header.row_count != self.lines:
            raise self._wrong_count(str(self.lines))

    def _wrong_count(self, count: str) -> DamagedError:
        announced = 0 if self.header is None else self.header.row_count
        return DamagedError(f"{self._what} is damaged: its header announces {announced} records, and it has {count}")

    def _named(self, error: DamagedError) -> DamagedError:
        text = str(error)
        return error if text.startswith(self._what) else DamagedError(f"{self._what}: {text}")

    def _count(self, piece: bytes) -> None:
        self._read_bytes += len(piece)
        if self._read_bytes > MAX_EVENT_FILE_BYTES:
            raise DamagedError(f"it holds more than {MAX_EVENT_FILE_BYTES:,} bytes of lines")

    def _split(self, piece: bytes) -> Iterator[bytes]:
        end = piece.rfind(b"\n") + 1
        if not end:
            self._keep(piece)
            return
        if end == len(piece) and not self._rest:  # the usual case: a frame of whole lines needs no copy
            block = piece
        else:
            block = b"".join([*self._rest, memoryview(piece)[:end]])
            self._rest, self._rest_bytes = [], 0
            self._keep(piece[end:])
        if self.header is None:
            line, _, block = block.partition(b"\n")
            self.header = decode_header(line, self._what)
            if self.header.arrays and not self._arrays:
                self._names = NamedLines(self.header.schema.column_names)
        if block:
            self.lines += count_lines(block)
            if self.lines > self.header.row_count:
                raise self._wrong_count("more")
            yield block if self._names is None else self._names.of(block)

    def _keep(self, piece: bytes) -> None:
        if not piece:
            return
        self._rest.append(piece)
        self._rest_bytes += len(piece)
        line, most = self.lines + 2, self._max_line_bytes
        if self.header is None:
            line, most = 1, min(MAX_HEADER_BYTES, most)
        if self._rest_bytes > most:
            self._rest = []  # frees the memory while the error is handled
            raise DamagedError(f"line {line} is longer than {most:,} bytes")
