"""Event Files: JSON lines, compressed, the header a frame of its own.

The writer gathers records and puts the header before them at the end, when it is known. The reader takes stored bytes
as they come and gives blocks of whole lines; it keeps no more than a block and one line.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipeline.codec.event_files.compression import Compressor, Decoder, compress_frame, decoder, sniff
from pipeline.codec.event_files.header import decode_header, encode_header
from pipeline.codec.values import count_lines
from pipeline.domain.errors import DamagedError
from pipeline.domain.event_file import Encoding, Header

MAX_LINE_BYTES = 512 * 1024 * 1024
"""The longest line that is read or written: it must fit into memory several times."""
MAX_HEADER_BYTES = 16 * 1024 * 1024
"""The longest header line: room for some hundred thousand columns."""
MAX_EVENT_FILE_BYTES = 1024 * 1024 * 1024
"""The most bytes of lines in one Event File: more than the largest setting and the longest line come to together.

A few kilobytes of compressed data can be made to swell to more than any disk holds; here that ends.
"""


class EventFileWriter:
    """Gathers the records of one Event File, compressed, in memory."""

    def __init__(self, *, level: int) -> None:
        self._level = level
        self._compressor = Compressor(level)
        self._frames: list[bytes] = []
        self.line_bytes = 0
        self.upserts = 0
        self.deletes = 0

    @property
    def records(self) -> int:
        """How many records were added."""
        return self.upserts + self.deletes

    def add(self, lines: bytes, *, upserts: int = 0, deletes: int = 0) -> None:
        """Add whole lines that hold so many records: `count` and `compress` in one."""
        self.count(lines, upserts=upserts, deletes=deletes)
        self.compress([lines])

    def count(self, lines: bytes, *, upserts: int = 0, deletes: int = 0) -> None:
        """Take account of lines that will be compressed."""
        self.line_bytes += len(lines)
        self.upserts += upserts
        self.deletes += deletes

    def compress(self, added: Sequence[bytes]) -> None:
        """Compress lines that were counted, as they were added. Takes processor time: about 3 ms a megabyte."""
        self._frames += map(self._compressor.add, added)

    def finish(self, header: Header) -> bytes:
        """Return the Event File's bytes. `header.row_count` must be the number of records added."""
        head = compress_frame(encode_header(header), self._level)
        return b"".join([head, *self._frames, self._compressor.finish()])


class EventFileReader:
    """Reads one Event File, piece by piece; `what` names it in errors.

    Feed the stored bytes in order, then close. `header` is known once its line has been fed.
    """

    def __init__(
        self, encoding: Encoding | None, *, what: str = "the Event File", max_line_bytes: int = MAX_LINE_BYTES
    ) -> None:
        self._what = what
        self._max_line_bytes = max_line_bytes
        self._decoder: Decoder | None = None if encoding is None else decoder(encoding)
        self._sniffed = b""
        self._rest: list[bytes] = []
        self._rest_bytes = 0
        self._read_bytes = 0
        self.header: Header | None = None
        self.lines = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Give the record lines that `data` completes, in blocks of whole lines; DamagedError when they are not right."""
        if self._decoder is None:
            self._sniffed += data
            if len(self._sniffed) < 4:
                return
            self._decoder, data, self._sniffed = decoder(sniff(self._sniffed)), self._sniffed, b""
        try:
            for piece in self._decoder.feed(data):
                self._count(piece)
                yield from self._split(piece)
        except DamagedError as error:
            raise self._named(error) from error

    def close(self) -> None:
        """Check that the file is whole: no cut frame, no cut line, as many records as its header says."""
        if self._decoder is None and self._sniffed:
            for _ in self.feed(b"\n\n\n\n"[: 4 - len(self._sniffed)]):
                pass
        try:
            if self._decoder is not None:
                self._decoder.close()
        except DamagedError as error:
            raise self._named(error) from error
        if self._rest_bytes:
            raise DamagedError(f"{self._what} is truncated: line {self.lines + 2} has no end")
        if self.header is None:
            raise DamagedError(f"{self._what} is empty: it has no header line")
        if self.header.row_count != self.lines:
            raise self._lies(str(self.lines))

    def _lies(self, held: str) -> DamagedError:
        says = 0 if self.header is None else self.header.row_count
        return DamagedError(f"{self._what} lies about its rows: its header says {says}, it holds {held}")

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
        if end == len(piece) and not self._rest:  # as a frame is written; nothing need be copied
            block = piece
        else:
            block = b"".join([*self._rest, memoryview(piece)[:end]])
            self._rest, self._rest_bytes = [], 0
            self._keep(piece[end:])
        if self.header is None:
            line, _, block = block.partition(b"\n")
            self.header = decode_header(line, self._what)
        if block:
            self.lines += count_lines(block)
            if self.lines > self.header.row_count:
                raise self._lies("more")
            yield block

    def _keep(self, piece: bytes) -> None:
        if not piece:
            return
        self._rest.append(piece)
        self._rest_bytes += len(piece)
        line, most = self.lines + 2, self._max_line_bytes
        if self.header is None:
            line, most = 1, min(MAX_HEADER_BYTES, most)
        if self._rest_bytes > most:
            self._rest = []  # what is not read on need not be held while the error is told
            raise DamagedError(f"line {line} is longer than {most:,} bytes")
