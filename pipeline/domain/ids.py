"""Identifiers, each a type of its own.

Names that users choose (Flows, streams, labels) may contain any character; in object keys they are percent-encoded.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Container
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import NewType
from urllib.parse import quote, unquote

FlowName = NewType("FlowName", str)
StreamName = NewType("StreamName", str)
Label = NewType("Label", str)
ObjectKey = NewType("ObjectKey", str)
BinaryId = NewType("BinaryId", str)
"""64 lower-case hexadecimal digits: the BLAKE3 digest of the content."""

_BINARY_ID = re.compile(r"[0-9a-f]{64}")
MAX_KEY_BYTES = 1024
"""Of UTF-8 (S3: https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html)."""
_READABLE_CHARACTERS, _DIGEST_DIGITS = 24, 32
SHORTENED_CHARACTERS = _READABLE_CHARACTERS + 1 + _DIGEST_DIGITS
"""The most characters of a shortened segment of an object key."""
_NAMES_CACHED = 4096
"""A File List names few streams, and each of them thousands of times."""
_KEYS_CACHED = 16_384
"""movement.json names two objects for each group, and is read and written once for each."""
_MAX_NUMBER = 2**63 - 1
"""The largest number of a Movement or a chunk: an SQL database holds 64 bits."""


@lru_cache(maxsize=_NAMES_CACHED)
def encode_name(name: str) -> str:
    """Percent-encode a user's name into one path segment of an object key.

    Everything but ASCII letters, digits, ``_``, ``-`` and inner dots is encoded, so that no name is a path (``..``).
    """
    encoded = quote(name, safe="", errors="surrogatepass").replace("~", "%7E")
    return encoded if encoded.strip(".") else encoded.replace(".", "%2E")


def key_segment(name: str, most: int) -> str:
    """Return `encode_name` where it has 1 to `most` characters; else a readable beginning of it, `~` and a digest.

    No encoded name contains `~`, so no two names have one segment.
    """
    encoded = encode_name(name)
    if 0 < len(encoded) <= most:
        return encoded
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST_DIGITS]
    return f"{encoded[:_READABLE_CHARACTERS]}~{digest}"


@lru_cache(maxsize=_NAMES_CACHED)
def decode_name(segment: str) -> str:
    """Undo `encode_name`."""
    return unquote(segment, errors="surrogatepass")


def known_name(text: str, known: Container[str]) -> str:
    """Return a name that came in a path: as it is, or without another percent-encoding if only then it is a `known` one."""
    decoded = decode_name(text)
    return decoded if text not in known and decoded in known else text


def parse_binary_id(text: str) -> BinaryId:
    """Return `text` as a Binary File's id, or raise ValueError: an id becomes part of an object key."""
    if not _BINARY_ID.fullmatch(text):
        raise ValueError(f"not a Binary File id (64 lower-case hexadecimal digits): {text[:80]!r}")
    return BinaryId(text)


_NO_SEGMENTS = frozenset({"", ".", ".."})


def is_key_segment(text: str) -> bool:
    """Whether `text` may stand between two slashes of an object key."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return text not in _NO_SEGMENTS and "\0" not in text


@lru_cache(maxsize=_KEYS_CACHED)
def parse_object_key(text: str) -> ObjectKey:
    """Return `text` as an object's key, or raise ValueError when no store can hold it."""
    segments = text.split("/")
    if not (text.isascii() and "\0" not in text and _NO_SEGMENTS.isdisjoint(segments)) and not all(
        map(is_key_segment, segments)
    ):
        raise ValueError(
            f"not an object key (an empty, `.` or `..` segment, or a character it cannot hold): {text[:80]!r}"
        )
    if len(text.encode()) > MAX_KEY_BYTES:
        raise ValueError(f"an object key of more than {MAX_KEY_BYTES} bytes, which shorter names avoid: {text[:80]!r}…")
    return ObjectKey(text)


class Phase(StrEnum):
    """`full`: a snapshot of keys for which nothing was stored before; `incremental`: changes since."""

    FULL = "full"
    INCREMENTAL = "incremental"


@dataclass(frozen=True, slots=True)
class EventFileId:
    """The position of an Event File, `{movement}/{stream}/{phase}/{chunk}`, independent of its content."""

    movement: int
    stream: StreamName
    phase: Phase
    chunk: int

    def __str__(self) -> str:
        return f"{self.movement}/{encode_name(self.stream)}/{self.phase.value}/{self.chunk}"

    @classmethod
    def parse(cls, text: str) -> EventFileId:
        """Return the id whose `str` is exactly `text`, or raise ValueError."""
        try:
            movement, stream, phase, chunk = text.split("/")
            file = cls(int(movement), StreamName(decode_name(stream)), Phase(phase), int(chunk))
            file.stream.encode()  # a lone surrogate could not be written to a log or a document
        except ValueError as error:
            raise ValueError(f"not an Event File id (movement/stream/phase/chunk): {text[:80]!r}") from error
        if str(file) != text or not 0 <= file.movement <= _MAX_NUMBER or not 0 <= file.chunk <= _MAX_NUMBER:
            raise ValueError(f"not an Event File id as it is written: {text[:80]!r}")
        return file
