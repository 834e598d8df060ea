"""Exports in the SAM dialect as a test writes them, and what a source reads of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from pipeline.codec.values import key_text
from pipeline.connectors.sam.options import read_location, read_place
from pipeline.connectors.sam.reading.source import SamSource
from pipeline.connectors.sam.storage.directory import open_directory
from pipeline.connectors.sam.writing.destination import SamDestination
from pipeline.domain.comparison.diff import HASH_BYTES
from pipeline.domain.errors import UnreadableError
from pipeline.ports.source import RowBlock, UpsertSink
from tests.contracts.source import StreamContent

COLUMNS = {"ID": "number", "NAME": "varchar"}
Row = Mapping[str, Any] | bytes
Rows = Sequence[Row]
Names = list[tuple[object, object]]


def names_of(rows: Sequence[dict[str, object]]) -> Names:
    """Return the ids and names of rows."""
    return [(row["ID"], row["NAME"]) for row in rows]


def row(number: int, name: str | None = None, *, at: int | None = None, deleted: bool = False) -> dict[str, object]:
    """Return a row with an id and a name; `at` is its sequence number."""
    found: dict[str, object] = {"ID": number, "DELETED": deleted}
    return found | ({"NAME": name} if name else {}) | ({} if at is None else {"TXN_SEQUENCE": at})


def source_of(directory: Path, **options: str) -> SamSource:
    """Return the export in a directory as a source."""
    query = "&".join(f"{name}={value}" for name, value in options.items()).replace("key_", "key.")
    return SamSource(read_place(read_location(f"sam:{directory}{'?' if query else ''}{query}")), open_directory)


def destination_of(directory: Path, query: str = "") -> SamDestination:
    """Return the export in a directory as a destination."""
    return SamDestination(read_place(read_location(f"sam:{directory}{query}")), open_directory)


def header(table: str, rows: int | None, columns: Mapping[str, str] = COLUMNS, **more: object) -> bytes:
    """Return a header line as the public platform writes it."""
    document: dict[str, object] = {
        "table": table,
        "columns": [{"name": name, "type": type_, "size": -1, "nullable": True} for name, type_ in columns.items()],
        "primaryKeys": ["ID"],
        "rowCount": rows,
        "exportTime": "2026-08-18T00:16:51.915527507Z",
        "metadata": True,
    }
    return orjson.dumps({name: value for name, value in {**document, **more}.items() if value is not None})


def lines_of(rows: Sequence[Row]) -> list[bytes]:
    return [row if isinstance(row, bytes) else orjson.dumps(row) for row in rows]


def write_file(
    directory: Path, name: str, rows: Sequence[Row], columns: Mapping[str, str] = COLUMNS, **more: object
) -> Path:
    """Write a part of a table. `more` are members of its header."""
    path = directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    table = str(more.pop("table", name.rsplit("_", 2)[0]))
    more.setdefault("rowCount", len(rows))
    first = header(table, None, columns, **more)
    path.write_bytes(b"\n".join([first, *lines_of(rows)]) + b"\n")
    return path


def write_listing(directory: Path, *names: str, name: str = "listing/7c-metadata.json") -> None:
    """Write a listing in JSON Lines that names these files."""
    path = directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        b"".join(orjson.dumps({"fileId": f"event_file/{one}", "fullName": one, "new": 1}) + b"\n" for one in names)
    )


@dataclass
class Read:
    """What a source gives of one table. `rejected` maps keys to reasons; `error` says why it cannot be read."""

    types: dict[str, str] = field(default_factory=dict)
    key: tuple[str, ...] = ()
    rows: list[dict[str, Any]] = field(default_factory=list)
    rejected: dict[str, str] = field(default_factory=dict)
    error: str = ""
    content: StreamContent = field(default_factory=StreamContent)


async def read(source: SamSource) -> dict[str, Read]:
    """Read all tables of an export."""
    found: dict[str, Read] = {}
    async with source.open_snapshot() as snapshot:
        for schema in await snapshot.streams():
            one = found[schema.stream] = Read({it.name: it.type for it in schema.columns}, schema.primary_keys)
            try:
                async with snapshot.open_rows(schema) as blocks:
                    async for block in blocks:
                        await _read_block(block, one)
            except UnreadableError as error:
                one.error = str(error)
    return found


async def hashes_of(source: SamSource, table: str) -> list[bytes]:
    """Return the hash of each row of a table."""
    async with source.open_snapshot() as snapshot:
        (schema,) = [one for one in await snapshot.streams() if one.stream == table]
        async with snapshot.open_rows(schema) as blocks:
            hashes = b"".join([block.row_hashes() async for block in blocks])
    return [hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES)]


async def _read_block(block: RowBlock, one: Read) -> None:
    sink = UpsertSink(one.content.store)
    lines = await block.upserts(range(len(block)), sink)
    one.rows += [orjson.loads(line)["upsert"] for line in lines.splitlines()]
    one.rejected |= {key_text(block.keys()[at]): rejection.reason for at, rejection in sink.rejected.items()}
