"""What the context of an import knows of the Movement."""

from __future__ import annotations

from dataclasses import replace

from pipeline.domain.ids import FlowName, Label, StreamName
from pipeline.domain.schema import Column, StreamSchema
from pipeline.kit import Batch, Import, Importer
from pipeline.kit.loading.destination import ImporterDestination
from pipeline.ports.destination import Loaded
from pipeline.testing.simulated.object_store import MemoryObjectStore
from tests.contracts.destination import file_to_load


async def test_the_context_knows_the_movement_and_what_is_wished_of_it() -> None:
    told: list[tuple[str, bool]] = []
    seen: list[tuple[int, int | None, bool]] = []
    importer = Importer("app")

    @importer.applies("things", row=dict)
    async def apply(target: None, batch: Batch[dict[str, object]], ctx: Import) -> None:
        async with ctx.busy("a bulk job"):
            seen.append((ctx.epoch, ctx.original_movement, ctx.stopping))

    store = MemoryObjectStore()
    line = b'{"upsert":{"id":1,"name":"x"}}\n'
    schema = StreamSchema(
        StreamName("things"), Label("things"), (Column("id", "integer"), Column("name", "text")), ("id",)
    )
    file = replace(
        file_to_load(schema, [line], movement=7),
        original_movement=3,
        stopping=lambda: True,
        note_busy=lambda text, is_over: told.append((text, is_over)),
    )
    async with ImporterDestination("app:here", importer, None, store).open(
        FlowName("crm 2026-01-01T00:00:00+00:00")
    ) as session:
        assert isinstance(await session.load(file, after=()), Loaded)
        first = await session.load(replace(file_to_load(schema, [line], movement=7, chunk=1)), after=())
        assert isinstance(first, Loaded)
    assert seen == [(7, 3, True), (7, None, False)]
    assert told == [("a bulk job", False), ("a bulk job", True)]
