"""The rules for object keys that every store shares."""

from __future__ import annotations

from pipeline.domain.errors import DefectError
from pipeline.domain.ids import ObjectKey, parse_object_key


def check_key(key: ObjectKey) -> ObjectKey:
    """Return `key` unchanged. DefectError when no store can hold it: only our own code makes keys, from encoded names."""
    try:
        return parse_object_key(key)
    except ValueError as error:
        raise DefectError(str(error)) from error


def is_listed(entry: bytes, prefix: bytes, after: bytes) -> bool:
    """Whether a listing of the keys that start with `prefix` and sort after `after` needs `entry`.

    An entry that ends in a slash is a directory: the listing needs it if any key below it may qualify.
    """
    if entry.endswith(b"/"):
        return (entry.startswith(prefix) or prefix.startswith(entry)) and (entry > after or after.startswith(entry))
    return entry > after and entry.startswith(prefix)
