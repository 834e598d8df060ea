"""Contents that a dump yields, as records have them."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import anyio
from blake3 import blake3

from pipeline.domain.contents import Content
from pipeline.domain.ids import BinaryId, parse_binary_id
from pipeline.kit.calls import iterated
from pipeline.kit.values import Binary

_PIECE_BYTES = 1 << 20


async def content_text(binary: Binary) -> str:
    """Return the id of a content, with its name and media type. It is read, unless it is one that a handler was given."""
    return str(Content(await _id(binary), binary.name, binary.media_type))


async def _id(binary: Binary) -> BinaryId:
    if binary.open == b"" and binary.version:  # what a handler is given has no bytes, and its id as the version
        with suppress(ValueError):  # the app has versions of its own
            return parse_binary_id(binary.version)
    hasher = blake3()
    if isinstance(binary.open, bytes):
        hasher.update(binary.open)
    elif isinstance(binary.open, str | os.PathLike):
        async with await anyio.open_file(binary.open, "rb") as file:
            while piece := await file.read(_PIECE_BYTES):
                hasher.update(piece)
    else:
        await _read(binary.open, hasher)
    return BinaryId(hasher.hexdigest())


async def _read(open_: Callable[[], AsyncIterator[bytes]], hasher: blake3) -> None:
    async for piece in iterated(open_, what="reading a content that the dump yields"):
        hasher.update(piece)
