"""Paths of entries: bytes inside the connector, key values at its ports, printable text in messages.

A path is relative to the root; `/` separates its segments. A name is any bytes that the file system holds.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.domain.keys import KeyValue, RawText

METADATA_NAME = b".pipeline-import"
"""The directory below a destination's root that holds its marks. A source skips it, and no record may name it: so a tree
that was moved to a place can be moved on from there."""

MAX_PATH_BYTES = 16 * 1024
MAX_PATH_SEGMENTS = 1_000
"""No honest tree has a longer or deeper path, and each level costs a system call whenever the path is opened."""
_SHOWN_CHARACTERS = 1_000


def from_bytes(name: bytes) -> str | RawText:
    """Return `name` as a key value: text where it is UTF-8, its bytes otherwise."""
    try:
        return name.decode()
    except UnicodeDecodeError:
        return RawText(name)


def to_bytes(value: KeyValue) -> bytes | None:
    """Return the bytes of a key value that `from_bytes` gave; None when the value is not text."""
    match value:
        case str():
            return value.encode()
        case RawText():
            return value.data
        case _:
            return None


def shown(path: bytes) -> str:
    """Return `path` for a message or a log: without surrogates, and only the end of a very long path."""
    text = path.decode("utf-8", "backslashreplace") or "."
    return text if len(text) <= _SHOWN_CHARACTERS else f"…{text[-_SHOWN_CHARACTERS:]}"


def location_of(root: Path) -> str:
    """Return the `file:` URL of a directory. All spellings of one place, links included, give the same URL."""
    return root.resolve().as_uri().rstrip("/") + "/"
