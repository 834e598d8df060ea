"""A streamed body in parts of one size."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator


async def parts_of(pieces: AsyncIterable[bytes], part_bytes: int) -> AsyncIterator[bytes]:
    """Yield the pieces joined into parts of exactly `part_bytes`, and the rest. No bytes are no part."""
    gathered = bytearray()
    async for piece in pieces:
        rest = memoryview(piece)
        while rest:
            taken = rest[: part_bytes - len(gathered)]
            gathered += taken
            rest = rest[len(taken) :]
            if len(gathered) == part_bytes:
                yield bytes(gathered)
                gathered = bytearray()
    if gathered:
        yield bytes(gathered)


async def with_first(first: bytes, second: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield two parts that were taken from an iterator, and then what is left in it."""
    yield first
    yield second
    async for part in rest:
        yield part
