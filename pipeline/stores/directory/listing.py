"""One page of a listing over the directory store's tree, in the order of the keys' UTF-8 bytes.

Entries of one directory sort by their segment, directories with a slash behind it: that is the order of the whole
keys, whatever lies below. So the tree is walked in order, and nothing outside `prefix` or before `after` is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from pipeline.domain.ids import ObjectKey
from pipeline.ports.object_store import ObjectInfo
from pipeline.stores.directory.path_encoding import Entry, directory_path, scan
from pipeline.stores.keys import is_segment


def list_objects(root: Path, prefix: str, after: ObjectKey | None, limit: int) -> list[ObjectInfo]:
    """Return up to `limit` objects below `root` whose keys start with `prefix` and sort after `after`."""
    *directories, _ = prefix.split("/")
    if not all(is_segment(segment) for segment in directories):
        return []
    start = "".join(f"{segment}/" for segment in directories).encode(), str(directory_path(root, directories))
    lowest = after.encode("utf-8", "surrogatepass") if after is not None else b""
    wanted = prefix.encode("utf-8", "surrogatepass")
    return list(islice(_with_sizes(_walk(start, wanted, lowest)), limit))


def _walk(start: Entry, prefix: bytes, after: bytes) -> Iterator[Entry]:
    """Yield whole keys with their paths, in key order. A stack instead of recursion: a key may have 512 segments."""
    pending = [start]
    while pending:
        key, path = pending.pop()
        if key and not key.endswith(b"/"):
            yield key, path
        else:
            wanted = [entry for entry in scan(path, key) if _is_wanted(entry[0], prefix, after)]
            pending.extend(sorted(wanted, reverse=True))


def _is_wanted(key: bytes, prefix: bytes, after: bytes) -> bool:
    """Whether the object `key`, or anything in the directory `key` if it ends in a slash, belongs in the listing."""
    if key.endswith(b"/"):
        return (key.startswith(prefix) or prefix.startswith(key)) and (key > after or after.startswith(key))
    return key > after and key.startswith(prefix)


def _with_sizes(found: Iterator[Entry]) -> Iterator[ObjectInfo]:
    for key, path in found:
        try:
            size = Path(path).stat().st_size
        except FileNotFoundError:
            continue  # deleted since its directory was read
        yield ObjectInfo(ObjectKey(key.decode()), size)
