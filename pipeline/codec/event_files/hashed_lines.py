"""Rows as lines, with the hashes by which they are compared."""

from __future__ import annotations

from collections.abc import Sequence

from xxhash import xxh3_64_digest, xxh3_128_digest

from pipeline.domain.keys import Key


class HashedLines:
    """Consecutive rows in key order, each as a line without its line feed: all of a RowBlock but its `upserts`."""

    def __init__(self, keys: Sequence[Key], lines: Sequence[bytes]) -> None:
        self._keys, self._lines = keys, lines
        self._hashes = b"".join(map(xxh3_64_digest, lines))

    def __len__(self) -> int:
        return len(self._keys)

    def digest(self) -> bytes:
        """Return one digest for all rows."""
        return xxh3_128_digest(self._hashes)

    def last_key(self) -> Key:
        """Return the last of the keys."""
        return self._keys[-1]

    def keys(self) -> Sequence[Key]:
        """Return the key of each row."""
        return self._keys

    def row_hashes(self) -> bytes:
        """Return the hash of each row, one after the other."""
        return self._hashes
