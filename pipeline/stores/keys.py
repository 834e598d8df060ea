"""The rules for object keys that every store shares."""

from __future__ import annotations

from pipeline.domain.errors import DefectError
from pipeline.domain.ids import ObjectKey

MAX_KEY_BYTES = 1024
"""The longest key in UTF-8 (S3: https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html)."""


def is_segment(text: str) -> bool:
    """Whether `text` may stand between two slashes of a key."""
    return text not in ("", ".", "..") and "\0" not in text and _is_unicode(text)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_key(key: ObjectKey) -> ObjectKey:
    """Return `key` unchanged, or raise DefectError: only our own code makes keys, from names it has encoded."""
    if not all(is_segment(segment) for segment in key.split("/")):
        raise DefectError(f"not an object key (an empty, `.` or `..` segment, or a character it cannot hold): {key!r}")
    if len(key.encode()) > MAX_KEY_BYTES:
        raise DefectError(f"an object key of more than {MAX_KEY_BYTES} bytes; choose shorter names: {key[:100]!r}…")
    return key


def is_listed(entry: bytes, prefix: bytes, after: bytes) -> bool:
    """Whether a listing of the keys that start with `prefix` and sort after `after` needs `entry`.

    An entry that ends in a slash is a directory: the listing needs it if any key below it may qualify.
    """
    if entry.endswith(b"/"):
        return (entry.startswith(prefix) or prefix.startswith(entry)) and (entry > after or after.startswith(entry))
    return entry > after and entry.startswith(prefix)
