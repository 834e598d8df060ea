"""The contents of Binary Files in a database: bytes in a column of the row that names them."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace

import orjson

from pipeline.codec.event_files.array_lines import NamedLines
from pipeline.codec.values import refuse_wide_integers
from pipeline.domain.contents import parse_content
from pipeline.ports.destination import FileToLoad

MAX_CONTENT_BYTES = 256 * 1024 * 1024
"""A larger content makes its record a rejected one: a database takes four times as much memory for it."""
BLOCK_BYTES = 4_000_000
"""Lines are given on when they have as many bytes, or with the next content."""


def with_contents(file: FileToLoad) -> FileToLoad:
    """Return an Event File whose columns with contents have their bytes. Large objects and trees have other places."""
    schema = file.header.schema
    names = [column.name for column in schema.columns if column.type == "binary"]
    if not names or schema.stream.startswith("@"):
        return file
    columns = tuple(replace(column, type="bytes") if column.name in names else column for column in schema.columns)
    header = replace(file.header, schema=replace(schema, columns=columns))
    return replace(file, header=header, blocks=_blocks(file, names))


async def _blocks(file: FileToLoad, names: Sequence[str]) -> AsyncGenerator[bytes, None]:
    lines: list[bytes] = []
    size, named = 0, NamedLines(file.header.schema.column_names)
    async for block in file.blocks:
        for line in named.of(block).splitlines(keepends=True):
            refuse_wide_integers(line, f"Event File {file.entry.id}")
            lines.append(await _with_contents(line, names, file))
            size += len(lines[-1])
            if size >= BLOCK_BYTES:
                yield b"".join(lines)
                lines, size = [], 0
    if lines:
        yield b"".join(lines)


async def _with_contents(line: bytes, names: Sequence[str], file: FileToLoad) -> bytes:
    """Return an upsert line with the bytes of its contents. Any other line is for the loader to judge."""
    try:
        row = orjson.loads(line)["upsert"]
        ids = {name: parse_content(row[name]).id for name in names if isinstance(row.get(name), str)}
    except (ValueError, KeyError, TypeError, AttributeError):
        return line
    for name, id_ in ids.items():
        content = bytearray()
        async with file.open_binary(id_) as pieces:
            async for piece in pieces:
                if len(content) <= MAX_CONTENT_BYTES:
                    content += piece
        if len(content) > MAX_CONTENT_BYTES:
            row[name] = {"$unloadable": f"a content of more than {MAX_CONTENT_BYTES:,} bytes"}
        else:
            row[name] = {"$bytes": b64encode(content).decode()}
            file.opened.add(id_)
    return orjson.dumps({"upsert": row}, option=orjson.OPT_APPEND_NEWLINE)
