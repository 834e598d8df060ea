"""An app that keeps whatever it is given, and notes when a row is deleted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import anyio

from pipeline.domain.ids import EventFileId
from pipeline.kit.context import Import
from pipeline.kit.importer import Importer
from pipeline.kit.values import Batch, Upsert


@dataclass(frozen=True, slots=True)
class Deleted:
    """A row that was deleted: when, and in which Movement."""

    seconds: float
    movement: int
    stream: str
    key: tuple[Any, ...]


@dataclass
class PlainApp:
    """Rows by stream and key."""

    rows: dict[tuple[str, Any], Any] = field(default_factory=dict)
    deleted: list[Deleted] = field(default_factory=list)


def plain_importer() -> Importer:
    """Return the Importer that loads a PlainApp."""
    importer = Importer("memory")

    @importer.applies("*", row=dict)
    async def apply(target: PlainApp, batch: Batch[Any], ctx: Import) -> None:
        stream = EventFileId.parse(ctx.file).stream
        for record in batch.records:
            if isinstance(record, Upsert):
                target.rows[stream, record.key] = record.row
                continue
            target.rows.pop((stream, record.key), None)
            key = record.key if isinstance(record.key, tuple) else (record.key,)
            target.deleted.append(Deleted(anyio.current_time(), ctx.movement, stream, key))

    @importer.dump
    async def dump(target: PlainApp) -> AsyncIterator[tuple[str, Any, dict[str, object]]]:
        for (stream, key), row in list(target.rows.items()):
            yield stream, key, row

    return importer
