"""Converts object keys to paths below a directory, and back.

A segment of a key becomes a file name, with these marks. Every key has exactly one path, and no two keys share one:

    ~7E     a byte that is not printable ASCII, or `~` itself, in hexadecimal; so a file name is ASCII
    ~~      at the end: the segment is too long for one file name and continues inside this directory
    ~       at the end: an object without a dot in its name, or a directory with one

With the last mark, `a` and `a/b` can both be objects, as on S3. Usual names need no mark: `flow.json` is an object and
`flows` a directory.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

MAX_NAME_LENGTH = 240
"""The longest file name before marks. File systems take 255 bytes, and the marks need up to two."""

_ESCAPED_BYTE = re.compile(r"~([0-9A-F]{2})")
_UNSAFE_BYTE = re.compile(rb"[^\x21-\x7d]")


Entry = tuple[bytes, str]
"""An entry of a directory: its segment in UTF-8, with a slash after a directory's name; and its path.

A plain tuple, because a listing creates one for every file.
"""


def object_path(root: Path, key: str) -> Path:
    """Return the path of the object with this valid key below `root`."""
    *directories, name = key.split("/")
    return directory_path(root, directories).joinpath(*_file_names(name, is_object=True))


def directory_path(root: Path, segments: list[str]) -> Path:
    """Return the directory of all keys that start with these valid segments."""
    return root.joinpath(*[part for segment in segments for part in _file_names(segment, is_object=False)])


def _file_names(segment: str, *, is_object: bool) -> list[str]:
    text = _UNSAFE_BYTE.sub(lambda match: b"~%02X" % match[0][0], segment.encode()).decode("ascii")
    names = []
    while len(text) > MAX_NAME_LENGTH:
        escape_at = text.find("~", MAX_NAME_LENGTH - 2, MAX_NAME_LENGTH)
        cut = MAX_NAME_LENGTH if escape_at < 0 else escape_at
        names.append(text[:cut] + "~~")
        text = text[cut:]
    if not text.strip("."):
        text = text.replace(".", "~2E")
    is_plain = ("." in text) == is_object
    return [*names, text if is_plain else text + "~"]


def _segment(name: str) -> bytes:
    if "~" not in name:
        return name.encode()
    text = _ESCAPED_BYTE.sub(lambda match: chr(int(match[1], 16)), name.rstrip("~"))
    return text.encode("latin-1")


def scan(directory: str, before: bytes = b"") -> list[Entry]:
    """Return the entries of a directory of the store, unsorted, with `before` in front of each segment.

    A missing directory is empty.
    """
    entries: list[Entry] = []
    try:
        listing = list(os.scandir(directory))
    except FileNotFoundError:
        return entries
    for item in listing:
        segment = before + _segment(item.name)
        if not item.is_dir(follow_symlinks=False):
            entries.append((segment, item.path))
        elif item.name.endswith("~~"):
            entries.extend(scan(item.path, segment))
        else:
            entries.append((segment + b"/", item.path))
    return entries
