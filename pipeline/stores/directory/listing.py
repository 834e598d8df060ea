"""Lists a page of the directory store's tree, in the order of the keys' UTF-8 bytes.

Entries of a directory are sorted by segment, with a slash after the name of a directory. That is also the order of the
whole keys below them. So the tree is walked in order, and directories outside `prefix` or before `after` are not read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from pipeline.domain.ids import ObjectKey, is_key_segment
from pipeline.ports.object_store import ObjectInfo
from pipeline.stores.directory.path_encoding import Entry, directory_path, scan
from pipeline.stores.keys import is_listed


def list_objects(root: Path, prefix: str, after: ObjectKey | None, limit: int) -> list[ObjectInfo]:
    """Return up to `limit` objects below `root` whose keys start with `prefix` and sort after `after`."""
    *directories, _ = prefix.split("/")
    if not all(is_key_segment(segment) for segment in directories):
        return []
    start = "".join(f"{segment}/" for segment in directories).encode(), str(directory_path(root, directories))
    lowest = after.encode("utf-8", "surrogatepass") if after is not None else b""
    wanted = prefix.encode("utf-8", "surrogatepass")
    return list(islice(_with_sizes(_walk(start, wanted, lowest)), limit))


def list_folders(root: Path, prefix: str) -> list[str]:
    """Return the segments that follow `prefix` in keys of objects that lie further down. Empty directories do not count."""
    path = str(directory_path(root, prefix.split("/")[:-1]))
    below = [(key[:-1], folder) for key, folder in scan(path) if key.endswith(b"/")]
    return [name.decode() for name, folder in sorted(below) if next(_walk((b"", folder), b"", b""), None)]


def _walk(start: Entry, prefix: bytes, after: bytes) -> Iterator[Entry]:
    """Yield whole keys with their paths, in key order. A stack instead of recursion: a key may have 512 segments."""
    pending = [start]
    while pending:
        key, path = pending.pop()
        if key and not key.endswith(b"/"):
            yield key, path
        else:
            wanted = [entry for entry in scan(path, key) if is_listed(entry[0], prefix, after)]
            pending.extend(sorted(wanted, reverse=True))


def modified_at(status: os.stat_result) -> datetime:
    """Return when an object was stored, by the clock of its file system."""
    return datetime.fromtimestamp(status.st_mtime, UTC)


def _with_sizes(found: Iterator[Entry]) -> Iterator[ObjectInfo]:
    for key, path in found:
        try:
            present = Path(path).stat()
        except FileNotFoundError:
            continue  # deleted after its directory was read
        yield ObjectInfo(ObjectKey(key.decode()), present.st_size, modified_at(present))
