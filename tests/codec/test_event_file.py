"""Event Files survive a round trip in any encoding and in pieces of any size; altered ones are refused by name."""

from __future__ import annotations

import gzip
import sys
from datetime import UTC, datetime

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.codec.event_files.compression import (
    FRAME_BYTES,
    PIECE_BYTES,
    Compressor,
    Decoder,
    compress_frame,
    sniff,
)
from pipeline.codec.event_files.event_file import EventFileReader, EventFileWriter
from pipeline.codec.event_files.header import decode_header, encode_header
from pipeline.domain.errors import DamagedError
from pipeline.domain.event_file import Encoding, Header, KeyRange
from pipeline.domain.ids import EventFileId, FlowName, Label, Phase, StreamName
from pipeline.domain.keys import RawText
from pipeline.domain.schema import Column, StreamSchema

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

EVERYTHING = KeyRange()
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
LINES = [orjson.dumps({"upsert": {"a": number, "text": "x" * number}}) + b"\n" for number in range(50)]


def header(rows: int, stream: str = "t", covers: KeyRange = EVERYTHING) -> Header:
    columns = (Column("a", "integer", nullable=False, native_type="INT", default="1", size=4), Column("ü ", "text"))
    schema = StreamSchema(StreamName(stream), Label("l/ü"), columns, ("a",), {"sqlite": {"indexes": ["x"]}})
    id_ = EventFileId(3, StreamName(stream), Phase.INCREMENTAL, 7)
    return Header(FlowName("f"), id_, schema, rows, datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC), covers, "ab")


def written(rows: int = len(LINES)) -> bytes:
    writer = EventFileWriter(level=1)
    for line in LINES:
        writer.add(line, upserts=1)
    return writer.finish(header(rows))


def read(data: bytes, encoding: Encoding | None = None, piece: int = 1 << 16, max_line_bytes: int = 1 << 20) -> bytes:
    reader = EventFileReader(encoding, what="events/x", max_line_bytes=max_line_bytes)
    found = [block for at in range(0, len(data), piece) for block in reader.feed(data[at : at + piece])]
    reader.close()
    assert reader.header == header(len(LINES))
    assert all(block.endswith(b"\n") for block in found)
    return b"".join(found)


@pytest.mark.parametrize("piece", [1, 2, 7, 1 << 16])
def test_what_was_written_is_read_in_pieces_of_any_size(piece: int) -> None:
    assert read(written(), piece=piece) == b"".join(LINES)


def test_plain_and_gzip_are_read_as_well() -> None:
    plain = encode_header(header(len(LINES))) + b"".join(LINES)
    assert read(plain) == b"".join(LINES)
    assert read(gzip.compress(plain[:100]) + gzip.compress(plain[100:])) == b"".join(LINES)
    assert read(plain, Encoding.PLAIN, piece=3) == b"".join(LINES)
    assert [sniff(data[:4]) for data in (plain, gzip.compress(b""), written())] == list(Encoding)[::-1]


def test_the_header_is_a_frame_of_its_own_at_the_start() -> None:
    data = written()
    first = next(iter(Decoder(Encoding.ZSTD).feed(data)))
    assert decode_header(first.partition(b"\n")[0], "x") == header(len(LINES))
    assert first.count(b"\n") == 1


@pytest.mark.parametrize("cut", [1, 5, 50, 100])
@pytest.mark.parametrize("encoding", list(Encoding))
def test_a_truncated_file_is_refused(cut: int, encoding: Encoding) -> None:
    plain = encode_header(header(len(LINES))) + b"".join(LINES)
    data = {Encoding.ZSTD: written(), Encoding.GZIP: gzip.compress(plain), Encoding.PLAIN: plain}[encoding]
    with pytest.raises(DamagedError, match="events/x"):
        read(data[:-cut], encoding)


@given(st.integers(0), st.integers(1, 255))
def test_an_altered_byte_is_damage_or_reads_as_other_data_but_never_crashes(at: int, change: int) -> None:
    data = bytearray(written())
    data[at % len(data)] ^= change
    reader = EventFileReader(None, what="events/x")
    try:
        for _ in reader.feed(bytes(data)):
            pass
        reader.close()
    except DamagedError as error:
        assert "events/x" in str(error)  # noqa: PT017


def test_a_false_row_count_is_refused() -> None:
    with pytest.raises(DamagedError, match="its header announces 51 records, and it has 50"):
        read(written(rows=51))


def test_an_unknown_format_version_is_refused_by_number() -> None:
    line = encode_header(header(0)).replace(b'"formatVersion":1', b'"formatVersion":3')
    with pytest.raises(DamagedError, match=r"version 3.*newer release"):
        list(EventFileReader(None, what="events/x").feed(line))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"metadata":true', b'"metadata":false'),
        (b'"primaryKeys":["a"]', b'"primaryKeys":["b"]'),
        (b'"primaryKeys":["a"]', b'"primaryKeys":[]'),
        (b'"columns":[', b'"columns":{"x":['),
        (b'"phase":"incremental"', b'"phase":"half"'),
        (b'"chunk":7', b'"chunk":"7"'),
        (b'"name":"\xc3\xbc "', b'"name":"a"'),
    ],
)
def test_a_wrong_header_is_refused(old: bytes, new: bytes) -> None:
    line = encode_header(header(0))
    assert old in line
    with pytest.raises(DamagedError, match="events/x"):
        list(EventFileReader(None, what="events/x").feed(line.replace(old, new)))


@given(st.tuples(st.integers(), st.binary(), st.binary().map(lambda raw: RawText(raw + b"\xff"))), st.text())
def test_the_covered_range_and_odd_names_survive(key: tuple[int, bytes, RawText], name: str) -> None:
    bounded = header(1, stream=name.encode("utf-8", "replace").decode(), covers=KeyRange((-(2**63), b"", "x"), None))
    assert decode_header(encode_header(bounded), "x") == bounded


def test_an_endless_line_does_not_fill_the_memory() -> None:
    bomb = compress_frame(b"x" * (64 << 20), 1)
    reader = EventFileReader(Encoding.ZSTD, what="events/x", max_line_bytes=4 << 20)
    with pytest.raises(DamagedError, match="longer than"):
        list(reader.feed(bomb))


def test_a_zstd_bomb_comes_in_pieces() -> None:
    bomb = compress_frame(bytes(256 << 20), 1)
    assert len(bomb) < 100_000
    assert max(len(piece) for piece in Decoder(Encoding.ZSTD).feed(bomb)) <= PIECE_BYTES


def _count_frames(data: bytes) -> int:
    """Count zstd frames by their ends: uncompressed content may contain the magic number of a frame."""
    frames = 0
    while data:
        frame = zstd.ZstdDecompressor()
        frame.decompress(data)
        data, frames = frame.unused_data, frames + 1
    return frames


@given(st.lists(st.binary(max_size=100) | st.integers(1, FRAME_BYTES * 3).map(bytes), max_size=6))
@example([ZSTD_MAGIC])
def test_the_compressor_keeps_small_additions_in_one_frame(parts: list[bytes]) -> None:
    compressor = Compressor(1)
    data = b"".join([*(compressor.add(part) for part in parts), compressor.finish()])
    size = sum(map(len, parts))
    assert _count_frames(data) <= size // FRAME_BYTES + (size % FRAME_BYTES > 0)
    decoder = Decoder(Encoding.ZSTD)
    assert b"".join(decoder.feed(data)) == b"".join(parts)
    decoder.close()
