"""Writing files so that blocks of zeros become holes, which take no space on the disk."""

from __future__ import annotations

import os
from collections.abc import Iterator

BLOCK_BYTES = 4096
"""The smallest hole: the block of the common file systems."""
_ZEROS = bytes(BLOCK_BYTES)


def write_sparse(fd: int, data: bytes | bytearray | memoryview, end: int) -> None:
    """Write `data` at the end of a file, which has `end` bytes. A block of zeros becomes a hole."""
    view = memoryview(data).cast("B")
    written = 0
    for start, written in _extents(view, end):
        position = start
        while position < written:
            position += os.pwrite(fd, view[position:written], end + position)
    if written < len(view):
        os.ftruncate(fd, end + len(view))


def _extents(view: memoryview, end: int) -> Iterator[tuple[int, int]]:
    """Yield start and stop of each run without a whole block of zeros."""
    start, block = 0, -end % BLOCK_BYTES
    while block + BLOCK_BYTES <= len(view):
        after = block + BLOCK_BYTES
        # Comparing the outer bytes first costs nothing on other contents; memoryviews compare slowly.
        if view[block] == 0 == view[after - 1] and bytes(view[block:after]) == _ZEROS:
            if start < block:
                yield start, block
            start = after
        block = after
    if start < len(view):
        yield start, len(view)
