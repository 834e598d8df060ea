"""Attacks on memory, each in a process with limited address space: `python -m tests.fuzz.attacks NAME`.

Prints the outcome and the peak memory of the process, as JSON.
"""

from __future__ import annotations

import gzip
import resource
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, repeat
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import orjson

from pipeline.codec.documents.file_list import decode_file_list
from pipeline.codec.documents.flow import decode_movement
from pipeline.codec.documents.message import decode_message
from pipeline.codec.event_files.compression import Compressor
from pipeline.codec.event_files.event_file import EventFileReader
from pipeline.codec.event_files.upsert_lines import UpsertLines
from pipeline.codec.state import StateReader, encode_range
from pipeline.codec.values import parse_line
from pipeline.domain.errors import PipelineError
from pipeline.domain.event_file import Encoding
from pipeline.domain.ids import ObjectKey
from pipeline.stores.directory.object_store import DirectoryObjectStore
from tests.fuzz import samples

MEBIBYTE = 1 << 20
ZEROS = bytes(MEBIBYTE)
HEADER = orjson.dumps(samples.EVENT_FILE[0] | {"rowCount": 1 << 60}) + b"\n"


def _zstd(first: bytes, piece: bytes, pieces: int) -> Iterator[bytes]:
    """Yield a zstd stream of `first` and then `piece` repeated."""
    compressor = Compressor(3)
    yield compressor.add(first)
    for _ in range(pieces):
        yield compressor.add(piece)
    yield compressor.finish()


def _gzip(first: bytes, piece: bytes, pieces: int) -> Iterator[bytes]:
    """Return a gzip member of `first` and then members of 64 times `piece` each."""
    member = gzip.compress(64 * piece, 1)
    return chain([gzip.compress(first)], repeat(member, pieces // 64))


def _read(encoding: Encoding, stored: Iterable[bytes]) -> str:
    reader = EventFileReader(encoding, what="the file")
    blocks = sum(1 for data in stored for _ in reader.feed(data))
    reader.close()
    return f"{blocks} blocks"


def zstd_bomb_of_one_line() -> str:
    """10 GiB of zeros without a line feed."""
    return _read(Encoding.ZSTD, _zstd(HEADER, ZEROS, 10 * 1024))


def zstd_bomb_of_lines() -> str:
    """10 GiB of empty lines."""
    return _read(Encoding.ZSTD, _zstd(HEADER, b"\n" * MEBIBYTE, 10 * 1024))


def zstd_bomb_for_a_header() -> str:
    """10 GiB of zeros in place of the header."""
    return _read(Encoding.ZSTD, _zstd(b"", ZEROS, 10 * 1024))


def gzip_bomb() -> str:
    """3 GiB of zeros."""
    return _read(Encoding.GZIP, _gzip(HEADER, ZEROS, 3 * 1024))


def line_of_a_gigabyte() -> str:
    """A line of 1 GiB, not compressed."""
    return _read(Encoding.PLAIN, chain([HEADER], (bytes(MEBIBYTE) for _ in range(1024))))


def header_of_100_megabytes() -> str:
    """A header with a label of 100 MB."""
    before, label, after = HEADER.partition(b'"label":"')
    swollen = (bytes([120]) * 1_000_000 for _ in range(100))
    return _read(Encoding.PLAIN, chain([before + label], swollen, [after]))


def nesting_of_100_000() -> str:
    """Arrays and objects nested 100,000 levels deep, wherever JSON is read."""
    deep = [b"[" * 100_000 + b"]" * 100_000, b'{"a":' * 100_000 + b"1" + b"}" * 100_000]
    for value in deep:
        assert UpsertLines(["id"]).decode(b'{"upsert":{"id":%b}}\n' % value) is None
        for decode in (parse_line, decode_movement, decode_file_list):
            try:
                decode(value + b"\n", "the document")
            except PipelineError:
                continue
            return "was read"
    parse_line(deep[0], "the document")
    return "was read"


def message_of_brackets() -> str:
    """A message of 256 KiB, all of it `[`."""
    return str(decode_message(b"[" * 256 * 1024))


def file_list_of_a_million_lines() -> str:
    """64 MiB of line feeds, the size limit of a document."""
    head = orjson.dumps(samples.FILE_LIST[0] | {"files": 64 * MEBIBYTE}) + b"\n"
    return f"{len(decode_file_list(head + bytes([10]) * (64 * MEBIBYTE), 'the list').entries)} files"


def file_list_of_a_million_entries() -> str:
    """Valid entries: 16 MiB of them, a quarter of the size limit of a document."""
    line = orjson.dumps(samples.FILE_LIST[1]) + b"\n"
    count = 16 * MEBIBYTE // (len(line) + 8)
    lines = [line.replace(b"/full/0", b"/full/%d" % at) for at in range(count)]
    head = orjson.dumps(samples.FILE_LIST[0] | {"files": count}) + b"\n"
    return f"{len(decode_file_list(b''.join([head, *lines]), 'the list').entries)} files"


def state_of_a_claimed_exabyte() -> str:
    """A range of state that claims a length larger than any disk."""
    reader = StateReader(headed=False, what="the state")
    found = list(reader.feed(orjson.dumps({"until": [1], "rows": 1 << 57, "keys": 1}) + b"\n"))
    for _ in range(2048):
        found += reader.feed(ZEROS)
    return f"{len(found)} ranges"


def state_whose_keys_swell() -> str:
    """A range whose packed keys expand to 1 GiB."""
    frame = encode_range((1,), [(1,)], b"12345678")
    packed = b"".join(_zstd(b"[", ZEROS, 1024))
    described = orjson.loads(frame.partition(b"\n")[0]) | {"keys": len(packed)}
    del described["check"]  # an attacker can do so: ranges of earlier releases have none
    line = orjson.dumps(described)
    (part,) = StateReader(headed=False, what="the state").feed(b"".join([line, b"\n", packed, b"12345678"]))
    return f"{len(part.load_keys())} keys"


def document_of_a_gigabyte() -> str:
    """A progress document of 1 GiB in the store, as a sparse file."""
    with TemporaryDirectory() as place:
        store = DirectoryObjectStore(Path(place))
        path = Path(place) / "objects" / "flows" / "progress.json"
        path.parent.mkdir(parents=True)
        with path.open("wb") as file:
            file.truncate(1 << 30)
        stored = anyio.run(store.get, ObjectKey("flows/progress.json"))
    return f"{len(stored.data)} bytes"


ATTACKS: dict[str, Callable[[], str]] = {
    attack.__name__: attack
    for attack in (
        zstd_bomb_of_one_line,
        zstd_bomb_of_lines,
        zstd_bomb_for_a_header,
        gzip_bomb,
        line_of_a_gigabyte,
        header_of_100_megabytes,
        nesting_of_100_000,
        message_of_brackets,
        file_list_of_a_million_lines,
        file_list_of_a_million_entries,
        state_of_a_claimed_exabyte,
        state_whose_keys_swell,
        document_of_a_gigabyte,
    )
}


def main(name: str, limit_bytes: int) -> None:
    """Run one attack within `limit_bytes` of address space."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    resource.setrlimit(resource.RLIMIT_AS, (limit_bytes, limit_bytes))
    try:
        outcome = {"result": ATTACKS[name]()}
    except PipelineError as error:
        outcome = {"error": type(error).__name__, "message": str(error)}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sys.stdout.buffer.write(orjson.dumps(outcome | {"peak_mebibytes": (peak - before) // 1024}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
