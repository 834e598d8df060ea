"""Strategies: valid documents altered at the level of bytes, of JSON values, and of compressed frames."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from typing import Any

import orjson
from hypothesis import strategies as st

from pipeline.codec.event_files.compression import compress_frame

Json = Any

HOSTILE_TEXTS = [
    "",
    ".",
    "..",
    "/",
    "../../outside",
    "/etc/passwd",
    "a/../../outside",
    "a\0b",
    ".pipeline-import",
    ".pipeline-import/state.db",
    'x"; DROP TABLE t; --',
    "sqlite_master",
    "_pipeline_marks",
    "\N{REPLACEMENT CHARACTER}\U0010ffff\N{RIGHT-TO-LEFT OVERRIDE}",
    "%ED%A0%80",
    "%2E%2E%2F",
    "x" * 300,
    "x" * 5000,
    "9" * 5000,
    "\N{ARABIC-INDIC DIGIT THREE}",
    "1/t/full/0",
    "01/t/full/0",
    "1/%ED%A0%80/full/0",
    "9" * 5000 + "/t/full/0",
    "2026-01-02T03:04:05Z",
    "0001-01-01T00:00:00+23:59",
    "NaN",
    "zstd",
]
HOSTILE_NUMBERS = [0, -1, 1, 2, 2**31, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, -(2**63), 1e308, -1e308, 5e-324, -0.0]


def dump(value: Json) -> bytes:
    """Return compact JSON like that of orjson, for any depth of nesting."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def nested(depth: int, shape: int = 0) -> Json:
    """Return nested arrays, objects, or both."""
    value: Json = 1
    for level in range(depth):
        value = [value] if (shape + level * (shape == 2)) % 2 == 0 else {"a": value}
    return value


HOSTILE_VALUES = st.one_of(
    st.sampled_from([*HOSTILE_TEXTS, *HOSTILE_NUMBERS, None, True, False, [], {}, [[]], {"": {}}]),
    st.sampled_from([{"$bytes": "AA=="}, {"$bytes": "!"}, {"$text": "/w=="}, {"$float": "nan"}, {"$float": "x"}]),
    st.sampled_from([nested(300), nested(300, 1), nested(300, 2), {"$bytes": 1}, {"$text": "Li4v"}]),
    st.text(max_size=20).filter(lambda text: text.isprintable()),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
).map(lambda value: orjson.loads(dump(value)))  # a copy each time, because drawn values are altered in turn


def _places(value: Json) -> list[tuple[Json, Any]]:
    """Return every (container, key) within `value`."""
    found = []
    items: list[tuple[Any, Json]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    for key, item in items:
        found.append((value, key))
        found += _places(item)
    return found


@st.composite
def altered_json(draw: st.DrawFn, document: Json) -> Json:
    """A copy of `document` with up to three values replaced, removed, renamed, doubled or swapped."""
    copy = orjson.loads(orjson.dumps(document))
    for _ in range(draw(st.integers(1, 3))):
        places = _places(copy)
        if not places:
            break
        container, key = places[draw(st.integers(0, len(places) - 1))]
        _alter(draw, container, key)
    return copy


def _alter(draw: st.DrawFn, container: Json, key: Any) -> None:
    match draw(st.integers(0, 5)):
        case 0 | 1 | 2:
            container[key] = draw(HOSTILE_VALUES)
        case 3:
            del container[key]
        case 4 if isinstance(container, dict):
            container[draw(st.sampled_from(HOSTILE_TEXTS))] = container[key]
        case 4:
            container.insert(key, container[key])
        case _:
            other = draw(st.sampled_from(list(container) if isinstance(container, dict) else range(len(container))))
            container[key], container[other] = container[other], container[key]


@st.composite
def altered_bytes(draw: st.DrawFn, data: bytes) -> bytes:
    """A copy of `data` with up to five bytes or runs changed, removed, doubled or inserted."""
    copy = bytearray(data)
    for _ in range(draw(st.integers(1, 5))):
        at = draw(st.integers(0, len(copy)))
        length = draw(st.integers(0, 20))
        match draw(st.integers(0, 4)):
            case 0:
                copy[at : at + 1] = bytes([draw(st.integers(0, 255))])
            case 1:
                del copy[at : at + length]
            case 2:
                copy[at:at] = copy[at : at + length]
            case 3:
                copy[at:at] = draw(st.binary(max_size=10) | st.sampled_from(_SNIPPETS))
            case _:
                del copy[at:]
    return bytes(copy)


_SNIPPETS = [
    b"\n",
    b"\n\n",
    b"\r",
    b"[",
    b"]",
    b"{",
    b"}",
    b",",
    b'"',
    b"\\u0000",
    b"\\ud800",
    b"\xff",
    b"null",
    b"1e999",
]
_SNIPPETS += [b"99999999999999999999999", b"-", b"[" * 2000, b"\x28\xb5\x2f\xfd", b"\x1f\x8b", b"\xef\xbb\xbf", b"NaN"]


def documents(document: Json) -> st.SearchStrategy[bytes]:
    """A document of one JSON value, altered as JSON or as bytes; or no document at all."""
    valid = orjson.dumps(document)
    return st.one_of(
        altered_json(document).map(dump),
        altered_bytes(valid),
        st.binary(max_size=40),
        HOSTILE_VALUES.map(dump),
        st.sampled_from([b"[" * 100_000, b'{"a":' * 100_000, b"[" * 1000 + b"]" * 1000, b"{" * 10, b"\n", b"null"]),
    )


@st.composite
def altered_lines(draw: st.DrawFn, lines: list[Json]) -> bytes:
    """JSON lines of which up to three are altered, removed, doubled, swapped, or replaced by invalid JSON."""
    texts = [orjson.dumps(line) for line in lines]
    for _ in range(draw(st.integers(1, 3))):
        if not texts:
            break
        at = draw(st.integers(0, len(texts) - 1))
        match draw(st.integers(0, 5)):
            case 0 | 1 | 2:
                texts[at] = draw(documents(lines[min(at, len(lines) - 1)]))
            case 3:
                del texts[at]
            case 4:
                texts.insert(at, texts[at])
            case _:
                other = draw(st.integers(0, len(texts) - 1))
                texts[at], texts[other] = texts[other], texts[at]
    end = draw(st.sampled_from([b"\n", b"\n", b"\n", b"", b"\n\n", b"\r\n"]))
    return b"\n".join(texts) + end


PACKINGS: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda data: data,
    "gzip": lambda data: gzip.compress(data, 1, mtime=0),
    "zstd": lambda data: compress_frame(data, 1),
}


@st.composite
def packed(draw: st.DrawFn, contents: st.SearchStrategy[bytes]) -> tuple[str, bytes]:
    """An encoding, and contents packed in one to three frames of it, possibly altered after that."""
    encoding = draw(st.sampled_from(sorted(PACKINGS)))
    content = draw(contents)
    cuts = sorted(draw(st.lists(st.integers(0, len(content)), max_size=2)))
    parts = [content[start:end] for start, end in zip([0, *cuts], [*cuts, len(content)], strict=True)]
    data = b"".join(PACKINGS[encoding](part) for part in parts)
    if draw(st.integers(0, 2)) == 0:
        data = draw(altered_bytes(data))
    if encoding != "plain" and draw(st.integers(0, 9)) == 0:
        encoding = draw(st.sampled_from(sorted(PACKINGS)))  # the File List names a wrong encoding
    return encoding, data


def pieces(data: bytes) -> st.SearchStrategy[list[bytes]]:
    """`data` in pieces, as a store might return it."""
    return st.sampled_from([1, 2, 3, 7, 64, 1 << 16]).map(
        lambda size: [data[at : at + size] for at in range(0, len(data), size)]
    )
