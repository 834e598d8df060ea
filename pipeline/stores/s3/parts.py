"""A streamed body in parts of one size."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator


async def parts_of(pieces: AsyncIterable[bytes], part_bytes: int) -> AsyncIterator[bytes]:
    """Yield the pieces joined into parts of exactly `part_bytes`, and the rest. No bytes are no part."""
    gathered: list[memoryview] = []
    room = part_bytes
    async for piece in pieces:
        rest = memoryview(piece)
        while rest:
            gathered.append(rest[:room])
            rest = rest[room:]
            room -= len(gathered[-1])
            if not room:
                yield b"".join(gathered)
                gathered, room = [], part_bytes
    if gathered:
        yield b"".join(gathered)


async def with_first(first: bytes, second: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield two parts that were taken from an iterator, and then what is left in it."""
    yield first
    yield second
    async for part in rest:
        yield part
