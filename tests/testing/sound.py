"""Exporters and Importers of which torture finds nothing wrong, one for each delivery level and way of reading."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from random import Random
from typing import Any

import pipeline.kit as kit
from pipeline.kit import Batch, Changes, Exporter, Import, Importer, Page, StagedFile, Upsert
from tests.testing.apps import Api, Database, Documents, Dump, Issue, Notes, Project, Tables, travel
from tests.testing.apps import Changes as Transaction


def api_importer(name: str) -> Importer:
    """Return an Importer into an Api, without handlers."""
    importer = Importer(name, accepts="tracker/1")

    @importer.scratch
    async def scratch() -> AsyncIterator[Api]:
        yield Api()

    @importer.dump
    async def dump(target: Api) -> Dump:
        async for one in target.dump():
            yield one

    return importer


created = api_importer("created")


@created.creates("projects", row=Project)
async def create_project(target: Api, project: Project, ctx: Import) -> str:
    return await target.post("projects", {"name": project.name}, key=ctx.once_key)


@create_project.update
async def update_project(target: Api, id_: str, project: Project, ctx: Import) -> None:
    await target.put(id_, {"name": project.name})


@create_project.delete
async def delete_project(target: Api, id_: str, ctx: Import) -> None:
    await target.delete(id_)


@created.creates("issues", row=Issue)
async def create_issue(target: Api, issue: Issue, ctx: Import) -> str:
    project = await ctx.ids.need("projects", issue.project_id)
    return await target.post("issues", {"project_id": project, "title": issue.title, "external": issue.id})


@create_issue.find
async def find_issue(target: Api, issue: Issue, ctx: Import) -> str | None:
    return await target.search("issues", external=issue.id)


@create_issue.update
async def update_issue(target: Api, id_: str, issue: Issue, ctx: Import) -> None:
    project = await ctx.ids.need("projects", issue.project_id)
    await target.put(id_, {"project_id": project, "title": issue.title})


@create_issue.delete
async def delete_issue(target: Api, id_: str, ctx: Import) -> None:
    await target.delete(id_)


repeated = api_importer("repeated")


@repeated.creates("projects", row=Project, delivery="at-least-once")
async def create_again(target: Api, project: Project, ctx: Import) -> str:
    return await target.post("projects", {"name": project.name})


@create_again.update
async def update_again(target: Api, id_: str, project: Project, ctx: Import) -> None:
    await target.put(id_, {"name": project.name})


@create_again.delete
async def delete_again(target: Api, id_: str, ctx: Import) -> None:
    await target.delete(id_)


keyed = Importer("keyed")


@keyed.scratch
async def tables() -> AsyncIterator[Tables]:
    yield Tables()


@keyed.dump
async def dump_tables(target: Tables) -> Dump:
    async for one in target.dump():
        yield one


@keyed.applies("*", row=dict, batch=2)
async def apply(target: Tables, batch: Batch[dict[str, Any]], ctx: Import) -> None:
    for record in batch.records:
        if isinstance(record, Upsert):
            await target.put(ctx.stream, record.key, record.row)
        else:
            await target.delete(ctx.stream, record.key)


def database_importer(name: str) -> Importer:
    """Return an Importer into a Database, without handlers."""
    importer = Importer(name)

    @importer.scratch
    async def scratch() -> AsyncIterator[Database]:
        yield Database()

    @importer.dump
    async def dump(target: Database) -> Dump:
        async for one in target.dump():
            yield one

    return importer


transacted = database_importer("transacted")


async def transaction_of(target: Database) -> AsyncIterator[Transaction]:
    """A transaction of the Database."""
    async with target.transaction() as changes:
        yield changes


transaction = transacted.transaction(transaction_of)


@transaction.read_marks
async def read_marks(changes: Transaction) -> Mapping[str, bytes]:
    assert changes.database is not None
    await travel()
    return changes.database.marks | changes.marks


@transaction.write_mark
async def write_mark(changes: Transaction, file: str, mark: bytes) -> None:
    await travel()
    changes.marks[file] = mark


@transacted.applies("issues", row=Issue, delivery="transaction")
async def insert(changes: Transaction, batch: Batch[Issue], ctx: Import) -> None:
    for record in batch.records:
        await travel()
        change(changes, "issues", record.key, asdict(record.row) if isinstance(record, Upsert) else None)


def change(changes: Transaction, stream: str, key: object, row: Mapping[str, object] | None) -> None:
    """Replace a row in a transaction; None deletes it."""
    changes.deleted.append((stream, key))
    changes.inserted = [one for one in changes.inserted if one[:2] != (stream, key)]
    if row is not None:
        changes.inserted.append((stream, key, dict(row)))


linked = database_importer("linked")
linked_transaction = linked.transaction(transaction_of)
linked_transaction.read_marks(read_marks)
linked_transaction.write_mark(write_mark)


@linked.applies("projects", row=Project, delivery="transaction")
async def insert_project(changes: Transaction, batch: Batch[Project], ctx: Import) -> None:
    for record in batch.records:
        await travel()
        change(changes, "projects", record.key, asdict(record.row) if isinstance(record, Upsert) else None)
        if isinstance(record, Upsert):
            await ctx.ids.put("projects", record.key, f"project {record.key!r}")


@linked.applies("issues", row=Issue, delivery="transaction", after=("projects",))
async def insert_linked(changes: Transaction, batch: Batch[Issue], ctx: Import) -> None:
    for record in batch.records:
        row = None
        if isinstance(record, Upsert):
            row = asdict(record.row) | {"project_id": await ctx.ids.need("projects", record.row.project_id)}
        change(changes, "issues", record.key, row)


def documents_importer(name: str) -> Importer:
    """Return an Importer into Documents, without handlers."""
    importer = Importer(name)

    @importer.scratch
    async def scratch() -> AsyncIterator[Documents]:
        yield Documents()

    @importer.dump
    async def dump(target: Documents) -> Dump:
        async for one in target.dump():
            yield one

    return importer


def staged_rows(file: StagedFile[Issue]) -> list[tuple[str, Any, dict[str, object] | None]]:
    """Return stream, key and row of each record; a row that is deleted is None."""
    return [("issues", one.key, asdict(one.row) if isinstance(one, Upsert) else None) for one in file.records]


staged = documents_importer("staged")


@staged.stages("issues", row=Issue)
async def stage(target: Documents, file: StagedFile[Issue], ctx: Import) -> str:
    await travel()
    target.staged[file.id] = staged_rows(file)
    await travel()
    return file.id


@stage.publish
async def publish(target: Documents, tokens: Sequence[str], ctx: Import) -> None:
    for token in tokens:
        for stream, key, row in target.staged[token]:
            await travel()
            target.rows[stream, key] = [] if row is None else [row]


@dataclass
class Note:
    id: int
    text: str


def notes_exporter(name: str) -> Exporter:
    """Return an Exporter of Notes, without streams."""
    exporter = Exporter(name)

    @exporter.scratch
    async def scratch() -> AsyncIterator[Notes]:
        yield Notes()

    @exporter.change
    async def change(client: Notes, random: Random) -> None:
        await client.change(random)

    return exporter


listed = notes_exporter("listed")


@listed.rows("notes", row=Note, key="id")
async def all_notes(client: Notes) -> AsyncIterator[Note]:
    await travel()
    for number, text in list(client.texts.items()):
        yield Note(number, text)


paged = notes_exporter("paged")


@paged.pages("notes", row=Note, key="id", order="stable")
async def notes_by_id(client: Notes, after: str | None) -> Page[Note]:
    await travel()
    numbers = sorted(number for number in client.texts if number > int(after or 0))
    found = [Note(number, client.texts[number]) for number in numbers[:3]]
    return Page(found, next=str(found[-1].id) if len(numbers) > 3 else None)


shifting = notes_exporter("shifting")


@shifting.pages("notes", row=Note, key="id")
async def notes_by_offset(client: Notes, after: str | None) -> Page[Note]:
    await travel()
    start, numbers = int(after or 0), list(client.texts)
    found = [Note(number, client.texts[number]) for number in numbers[start : start + 3]]
    return Page(found, next=str(start + 3) if start + 3 < len(numbers) else None, total=len(numbers))


@shifting.fetch("notes")
async def notes_by_ids(client: Notes, keys: Sequence[kit.Key]) -> Sequence[Note]:
    await travel()
    return [Note(int(str(key)), client.texts[int(str(key))]) for key in keys if key in client.texts]


fed = notes_exporter("fed")


@fed.changes("notes", row=Note, key="id")
async def changed_notes(client: Notes, since: str | None) -> Changes[Note]:
    await travel()
    moment = int(since or 0)
    changed = sorted((at, number) for number, at in client.changed.items() if at > moment)
    deleted = sorted((at, number) for number, at in client.deleted.items() if at > moment)
    some = sorted([*changed, *deleted])[:3]
    upserts = [Note(number, client.texts[number]) for at, number in some if number in client.texts]
    gone = [number for at, number in some if number not in client.texts]
    return Changes(
        upserts, gone, cursor=str(some[-1][0] if some else moment), more=len(changed) + len(deleted) > len(some)
    )
