"""The port to what is moved: a consistent view of an app's data, stream by stream, in key order."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from pipeline.domain.ids import BinaryId
from pipeline.domain.keys import Key
from pipeline.domain.schema import StreamSchema
from pipeline.ports.object_store import OpenBody

ROW_HASH_BYTES = 8
DIGEST_BYTES = 16

StoreBinary = Callable[[OpenBody], Awaitable[BinaryId]]
"""Stores the content that the argument opens as a Binary File, unless it is stored already; returns its id.

The body is opened twice: to learn its id, and to store it. DamagedError when it was not the same both times.
"""


@dataclass(frozen=True, slots=True)
class KnownRange:
    """Rows that whoever compares blocks knows already: those up to `until`, with the hash of each in key order.

    `digest` is theirs, if it is known, and if a block that has it needs no further look: its rows may be gone by then.
    """

    until: Key
    hashes: bytes = b""
    digest: bytes | None = None


Known = Callable[[int], KnownRange | None]
"""What is known of the rows ahead: of the range in hand (0), of the one behind it (1), …; None where that is not known.

The next block had best end where the range in hand does: with the last row whose key is not after `until`. Asked as a
block is begun, in the task that asks for the block.
"""


def nothing_known(ahead: int) -> None:
    """The `Known` of who knows nothing."""


class RowBlock(Protocol):
    """Some hundred to some thousand consecutive rows of one stream, in key order.

    Rows become JSON only when asked, and are looked at one by one only when asked: most rows of most Movements are
    unchanged, and so are most blocks, which their digest tells.
    """

    def __len__(self) -> int:
        """The number of rows, at least 1."""
        ...

    def digest(self) -> bytes:
        """`DIGEST_BYTES` for all the rows. It was computed with the block: this call takes no time to speak of.

        Equal rows in equal order have equal digests, in every process and release. Rows of which one is different, one
        more or one less, have another: with a chance of 2**-128, or of 2**-64 a row where it is made of row hashes.
        """
        ...

    def last_key(self) -> Key:
        """The last of the keys. It takes less than all keys take."""
        ...

    def keys(self) -> Sequence[Key]:
        """The rows' keys, in order: strictly ascending by `keys.order` within the block and from block to block."""
        ...

    def row_hashes(self) -> bytes:
        """`ROW_HASH_BYTES` a row, in order. Equal rows have equal hashes, in every process and release.

        The hash covers all that an upsert of the row would carry, the names of its columns included.
        """
        ...

    async def upserts(self, positions: Sequence[int], store_binary: StoreBinary) -> bytes:
        """Return one upsert line for each of the rows at these ascending positions, each ending in a line feed.

        Contents that a row refers to are stored through `store_binary` before this returns. TransientError when the
        source changed under the reader's hands and reading again would help.
        """
        ...


class Snapshot(Protocol):
    """One state of the source. All streams read from it belong together, as far as the technology can promise it."""

    async def streams(self) -> Sequence[StreamSchema]:
        """All streams there are, ordered by name."""
        ...

    def open_rows(
        self, schema: StreamSchema, known: Known = nothing_known
    ) -> AbstractAsyncContextManager[AsyncIterable[RowBlock]]:
        """Open the rows of one of `streams()`, from the first key on, in blocks of bounded memory (a few megabytes).

        `known` is a wish. A source that can end its blocks where it says does so, unless the block would become too
        large or have no row; a source that cannot ends them where it always does. The rows are the same either way.
        """
        ...


class Source(Protocol):
    """Where the data comes from. Constructing one does no I/O."""

    @property
    def location(self) -> str:
        """What a person calls this place: a URL without secrets. Two sources of one place have equal locations."""
        ...

    def open_snapshot(self) -> AbstractAsyncContextManager[Snapshot]:
        """Open a consistent view. It hinders nobody who writes to the source meanwhile.

        ConfigurationError when there is no such place or it is not what it should be; TransientError when it is
        locked; DamagedError when it is corrupt. Each names the place.
        """
        ...
