"""A store of documents as the destination: a folder for each table, with a JSON document for each row.

    pipeline move shop.db ./documents.py:importer --destination-set folder=documents

Every table is taken (`"*"`). A whole Event File is staged under its id, and published afterwards (`stages`): readers of the store
see nothing of a file that is not complete. Whatever is killed, staging and publishing again changes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote, unquote

import msgspec
from anyio import to_thread

from pipeline.kit import Delete, Import, Importer, Key, StagedFile, Upsert

STAGED = ".staged"
Row = dict[str, object]


@dataclass
class Settings:
    folder: Path


class Line(msgspec.Struct):
    """A line of a staged file: the key of a document, and the document, None for one that is gone."""

    key: Any
    row: Row | None


importer = Importer("documents")


@importer.connect
async def connect(settings: Settings) -> AsyncIterator[Path]:
    yield settings.folder


@importer.stages("*", row=dict)
async def stage(folder: Path, file: StagedFile[Row], ctx: Import) -> str:
    token = f"{quote(ctx.stream, safe='')}/{quote(file.id, safe='')}"
    await to_thread.run_sync(write, folder / STAGED / token, [as_line(record) for record in file.records])
    return token


@stage.publish
async def publish(folder: Path, tokens: Sequence[str], ctx: Import) -> None:
    for token in tokens:
        await to_thread.run_sync(publish_file, folder, token)


@importer.dump
async def dump(folder: Path) -> AsyncIterator[tuple[str, Key, Mapping[str, object]]]:
    for stream, document in await to_thread.run_sync(list, documents(folder)):
        key = tuple(document.key) if isinstance(document.key, list) else document.key
        yield stream, key, document.row or {}


@importer.scratch
async def scratch() -> AsyncIterator[Path]:
    with TemporaryDirectory() as folder:
        yield Path(folder)


def as_line(record: Upsert[Row] | Delete) -> Line:
    return Line(record.key, record.row if isinstance(record, Upsert) else None)


def documents(folder: Path) -> Iterator[tuple[str, Line]]:
    for path in folder.glob("*/*.json"):
        yield unquote(path.parent.name), msgspec.json.decode(path.read_bytes(), type=Line)


def publish_file(folder: Path, token: str) -> None:
    """Write and delete the documents that a staged file names, and delete it at the end."""
    staged = folder / STAGED / token
    if not staged.exists():
        return  # it was published before
    for line in msgspec.json.Decoder(Line).decode_lines(staged.read_bytes()):
        name = hashlib.sha256(msgspec.json.encode(line.key)).hexdigest()
        document = folder / Path(token).parent / f"{name}.json"
        if line.row is None:
            document.unlink(missing_ok=True)
        else:
            write(document, [line])
    staged.unlink()


def write(path: Path, lines: Sequence[Line]) -> None:
    """Write lines to a file, which is complete as soon as it has its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(path.name + ".new")
    new.write_bytes(msgspec.json.Encoder().encode_lines(lines))
    new.replace(path)
