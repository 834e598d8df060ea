"""The public interface, as a program uses it. Nothing here runs: mypy checks it."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import assert_type

import pipeline


class Contacts:
    """A Source and a Destination of a program's own."""

    location = "contacts://crm"

    @asynccontextmanager
    async def open_snapshot(self) -> AsyncIterator[ContactSnapshot]:
        yield ContactSnapshot()

    @asynccontextmanager
    async def open(self, flow: pipeline.FlowName) -> AsyncIterator[ContactSession]:
        yield ContactSession()


class ContactSnapshot:
    async def streams(self) -> Sequence[pipeline.StreamSchema]:
        columns = (pipeline.Column("id", "integer", nullable=False), pipeline.Column("name", "text"))
        return [pipeline.StreamSchema(pipeline.StreamName("contacts"), pipeline.Label("contacts"), columns, ("id",))]

    @asynccontextmanager
    async def open_rows(self, schema: pipeline.StreamSchema) -> AsyncIterator[AsyncIterable[pipeline.RowBlock]]:
        yield no_blocks()


async def no_blocks() -> AsyncIterator[pipeline.RowBlock]:
    blocks: Sequence[pipeline.RowBlock] = ()
    for block in blocks:
        yield block


class ContactSession:
    async def marks(self) -> Mapping[pipeline.EventFileId, pipeline.Mark]:
        raise NotImplementedError

    async def load(self, file: pipeline.FileToLoad, *, after: Sequence[pipeline.EventFileId]) -> pipeline.LoadOutcome:
        return pipeline.Loaded(pipeline.Mark(upserts=file.header.row_count, deletes=0))

    async def retry_rejected(self) -> Sequence[pipeline.Rejection]:
        return ()

    async def finish(self, streams: Sequence[pipeline.StreamName]) -> Sequence[pipeline.Violation]:
        return ()


class Printer:
    """A Reporter that prints."""

    def report(self, event: pipeline.Event) -> None:
        match event:
            case pipeline.EventFileImported():
                print(event.label, event.mark.upserts)
            case pipeline.MovementSettled(status=status):
                print(status)
            case _:
                pass


async def use() -> None:
    settings = pipeline.Settings(home=Path("home"), importers=2)
    assert_type(await pipeline.move("app.db", Path("copy.db")), pipeline.Movement)
    contacts = Contacts()
    movement = await pipeline.move(contacts, contacts, flow="crm", settings=settings, reporter=Printer())
    assert_type(movement.status, pipeline.Status)
    assert_type(await pipeline.verify("crm", source=contacts, destination=contacts), pipeline.Verification)
    assert_type(await pipeline.repair("crm"), pipeline.Repair)
    assert_type(await pipeline.status(), Sequence[pipeline.FlowStatus | pipeline.UnreadableFlow])
    assert_type(await pipeline.flows(settings=settings), Sequence[pipeline.Flow])
    assert_type(await pipeline.start("crm", only=["c*"]), tuple[pipeline.Movement, bool])
    assert_type(await pipeline.apply_flows(Path("flows.toml")), Sequence[pipeline.FlowChange])
    assert_type(await pipeline.set_flow("crm", ["windows.life_days=7"]), pipeline.FlowChange)
    assert_type(await pipeline.remove_flow("crm", lambda removal: not removal.stored), pipeline.Removal)
    assert_type(await pipeline.check(flow="crm", quick=True), pipeline.CheckReport)
    assert_type(await pipeline.approve("crm", "source", "ada"), pipeline.Approval | None)
    assert_type(await pipeline.revoke("crm", pipeline.Side.SOURCE, "ada"), tuple[pipeline.Approval, bool])
    assert_type(await pipeline.pause("crm", groups=["sales"], reason="night"), pipeline.Wished)
    assert_type((await pipeline.resume("crm")).state.reason, pipeline.Reason)
    assert_type((await pipeline.stop("crm", wait_seconds=1)).state, pipeline.State)
    assert_type(await pipeline.rerun("crm", movement=2, tell=print), pipeline.Movement)
    assert_type(await pipeline.reload("crm", "users"), pipeline.Movement)
    assert_type(await pipeline.rejected("crm"), Sequence[pipeline.RejectedRow])
    assert_type(await pipeline.retry("crm", streams=["u*"]), pipeline.Retried)
    assert_type(await pipeline.load_corrected("crm", []), pipeline.Retried)
    assert_type((await pipeline.history("crm")).events, Sequence[pipeline.OutboxEvent])
    assert_type(await pipeline.compact("crm"), pipeline.Compaction)
    assert_type(await pipeline.prune("crm", delete=True), pipeline.Pruning)
    await pipeline.run_worker(pipeline.Role.IMPORT, flows=["crm"], reporter=pipeline.LogReporter())


pipeline.move(1, "copy.db")  # type: ignore[arg-type, unused-coroutine]
pipeline.no_such_name  # type: ignore[attr-defined]  # noqa: B018

CONNECTOR = pipeline.Connector(
    name="contacts",
    schemes=("contacts",),
    is_database=True,
    read=lambda url: pipeline.Location("contacts", url),
    source=lambda location, options: Contacts(),
    destination=lambda location: Contacts(),
)
