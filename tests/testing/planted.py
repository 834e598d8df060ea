"""Mistakes that authors make, each in an Exporter or an Importer that is sound but for it. Torture must find every one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from itertools import count
from typing import Any

from pipeline.kit import Batch, Changes, Import, Importer, Page, StagedFile, Upsert
from tests.testing.apps import Api, Database, Documents, Dump, Issue, Notes, Project, Tables, travel
from tests.testing.apps import Changes as Transaction
from tests.testing.sound import (
    Note,
    api_importer,
    apply,
    database_importer,
    delete_project,
    documents_importer,
    insert,
    notes_exporter,
    read_marks,
    staged_rows,
    update_project,
    write_mark,
)

no_find = api_importer("no find, and no key")


@no_find.creates("projects", row=Project)
async def create_without_key(target: Api, project: Project, ctx: Import) -> str:
    return await target.post("projects", {"name": project.name})


create_without_key.update(update_project)
create_without_key.delete(delete_project)

key_of_attempt = api_importer("another key at each attempt")
_attempts = count()


@key_of_attempt.creates("projects", row=Project)
async def create_with_new_key(target: Api, project: Project, ctx: Import) -> str:
    return await target.post("projects", {"name": project.name}, key=f"{ctx.once_key} {next(_attempts)}")


create_with_new_key.update(update_project)
create_with_new_key.delete(delete_project)

keeps_created = api_importer("deletes are ignored, at least once")


@keeps_created.creates("projects", row=Project, delivery="at-least-once")
async def create_to_keep(target: Api, project: Project, ctx: Import) -> str:
    return await target.post("projects", {"name": project.name})


create_to_keep.update(update_project)


@create_to_keep.delete
async def keep_project(target: Api, id_: str, ctx: Import) -> None:
    await travel()


find_by_name = api_importer("find by a field that is not unique")


@find_by_name.creates("projects", row=Project)
async def create_named(target: Api, project: Project, ctx: Import) -> str:
    return await target.post("projects", {"name": project.name})


@create_named.find
async def find_named(target: Api, project: Project, ctx: Import) -> str | None:
    return await target.search("projects", name=project.name)


create_named.update(update_project)
create_named.delete(delete_project)

update_creates = api_importer("an update that creates")


@update_creates.creates("projects", row=Project)
async def create_first(target: Api, project: Project, ctx: Import) -> str:
    return await target.post("projects", {"name": project.name}, key=ctx.once_key)


@create_first.update
async def update_as_new(target: Api, id_: str, project: Project, ctx: Import) -> None:
    await target.post("projects", {"name": project.name}, key=ctx.once_key)


create_first.delete(delete_project)

half_made = api_importer("an object that is made in two requests")


@half_made.creates("projects", row=Project)
async def create_in_two(target: Api, project: Project, ctx: Import) -> str:
    id_ = await target.post("projects", {"name": "", "external": project.id})
    await target.put(id_, {"name": project.name})
    return id_


@create_in_two.find
async def find_half(target: Api, project: Project, ctx: Import) -> str | None:
    return await target.search("projects", external=project.id)


create_in_two.update(update_project)
create_in_two.delete(delete_project)

swallowed = api_importer("an exception that is swallowed")


@swallowed.creates("projects", row=Project)
async def create_or_not(target: Api, project: Project, ctx: Import) -> str:
    try:
        return await target.post("projects", {"name": project.name}, key=ctx.once_key)
    except OSError:  # "it is there, probably"
        return "unknown"


create_or_not.update(update_project)
create_or_not.delete(delete_project)


def tables_importer(name: str) -> Importer:
    """Return an Importer into Tables, without handlers."""
    importer = Importer(name)

    @importer.scratch
    async def scratch() -> AsyncIterator[Tables]:
        yield Tables()

    @importer.dump
    async def dump(target: Tables) -> Dump:
        async for one in target.dump():
            yield one

    return importer


appends = tables_importer("a keyed apply that appends")


@appends.applies("*", row=dict)
async def apply_by_appending(target: Tables, batch: Batch[dict[str, Any]], ctx: Import) -> None:
    for upsert in batch.upserts:
        await target.append(ctx.stream, upsert.key, upsert.row)
    for delete in batch.deletes:
        target.log = [one for one in target.log if one[1] != delete.key]


keeps_deleted = tables_importer("deletes are ignored")


@keeps_deleted.applies("*", row=dict)
async def apply_upserts(target: Tables, batch: Batch[dict[str, Any]], ctx: Import) -> None:
    for upsert in batch.upserts:
        await target.put(ctx.stream, upsert.key, upsert.row)


mark_first = tables_importer("the mark before the rows")


@mark_first.applies("*", row=dict)
async def apply_after_mark(target: Tables, batch: Batch[dict[str, Any]], ctx: Import) -> None:
    if ctx.once_key in target.applied:
        return
    target.applied.add(ctx.once_key)
    await apply(target, batch, ctx)


lost_records = tables_importer("an error of one record that is suppressed")


@lost_records.applies("*", row=dict)
async def apply_ignoring_errors(target: Tables, batch: Batch[dict[str, Any]], ctx: Import) -> None:
    for record in batch.records:
        with suppress(ConnectionError):  # "it works the next time"
            await apply(target, Batch([record]), ctx)


mark_outside = database_importer("a mark that is not in the transaction")


@mark_outside.transaction
async def transaction(target: Database) -> AsyncIterator[Transaction]:
    async with target.transaction() as changes:
        yield changes


transaction.read_marks(read_marks)


@transaction.write_mark
async def write_mark_at_once(changes: Transaction, file: str, mark: bytes) -> None:
    assert changes.database is not None
    changes.database.marks[file] = mark
    await travel()


mark_outside.applies("issues", row=Issue, delivery="transaction")(insert)

commits_anyway = database_importer("a transaction that commits after an error")


@commits_anyway.transaction
async def transaction_in_finally(target: Database) -> AsyncIterator[Transaction]:
    async with target.lock:
        changes = Transaction(database=target)
        try:
            yield changes
        finally:
            target.apply(changes)


@transaction_in_finally.read_marks
async def read_all_marks(changes: Transaction) -> Mapping[str, bytes]:
    return await read_marks(changes)


transaction_in_finally.write_mark(write_mark)


@commits_anyway.applies("issues", row=Issue, delivery="transaction")
async def insert_alone(changes: Transaction, batch: Batch[Issue], ctx: Import) -> None:
    for record in batch.records:
        await travel()
        if isinstance(record, Upsert) and "/full/" in ctx.file:  # new rows, each of which comes once
            changes.inserted.append(("issues", record.key, asdict(record.row)))
        else:
            await insert(changes, Batch([record]), ctx)


publish_repeats = documents_importer("a publish that repeats")


@publish_repeats.stages("issues", row=Issue)
async def stage_file(target: Documents, file: StagedFile[Issue], ctx: Import) -> str:
    await travel()
    target.staged[file.id] = staged_rows(file)
    return file.id


@stage_file.publish
async def publish_by_appending(target: Documents, tokens: Sequence[str], ctx: Import) -> None:
    for token in tokens:
        for stream, key, row in target.staged[token]:
            await travel()
            versions = target.rows.setdefault((stream, key), [])
            if "/full/" not in token:
                versions.clear()
            versions += [] if row is None else [row]


stage_without_id = documents_importer("staged under no id of the file")


@stage_without_id.stages("issues", row=Issue)
async def stage_again(target: Documents, file: StagedFile[Issue], ctx: Import) -> str:
    kept = target.staged.setdefault(ctx.file.split("/")[2], [])
    kept += staged_rows(file)
    await travel()
    return ctx.file.split("/")[2]


@stage_again.publish
async def publish_all(target: Documents, tokens: Sequence[str], ctx: Import) -> None:
    for token in tokens:
        for stream, key, row in target.staged[token]:
            await travel()
            versions = target.rows.setdefault((stream, key), [])
            if token != "full":
                versions.clear()
            versions += [] if row is None else [row]
        target.staged[token] = []


by_time = notes_exporter("an order by the time of the last change, called stable")


@by_time.pages("notes", row=Note, key="id", order="stable")
async def notes_by_time(client: Notes, after: str | None) -> Page[Note]:
    await travel()
    start, numbers = int(after or 0), sorted(client.texts, key=lambda number: -client.changed[number])
    found = [Note(number, client.texts[number]) for number in numbers[start : start + 2]]
    return Page(found, next=str(start + 2) if start + 2 < len(numbers) else None)


partial_list = notes_exporter("a list that ends when there is an error")


@partial_list.pages("notes", row=Note, key="id", order="stable")
async def notes_until_error(client: Notes, after: str | None) -> Page[Note]:
    try:
        await travel()
        numbers = sorted(number for number in client.texts if number > int(after or 0))
        found = [Note(number, client.texts[number]) for number in numbers[:2]]
        await client.ping()
        return Page(found, next=str(found[-1].id) if len(numbers) > 2 else None)
    except ConnectionError:
        return Page([])


partial_rows = notes_exporter("rows that end when there is an error")


@partial_rows.rows("notes", row=Note, key="id")
async def notes_or_fewer(client: Notes) -> AsyncIterator[Note]:
    for number in sorted(client.texts):
        try:
            await client.ping()
        except ConnectionError:
            return
        yield Note(number, client.texts.get(number, ""))


cursor_first = notes_exporter("a cursor that moves before the rows are stored")


@cursor_first.pages("notes", row=Note, key="id", order="stable")
async def notes_of_cursor(client: Notes, after: str | None) -> Page[Note]:
    start = client.position if after else 0
    client.position = start + 2  # the app's own cursor, which is not asked for the same page twice
    await travel()
    numbers = sorted(client.texts)
    return Page(
        [Note(number, client.texts[number]) for number in numbers[start : start + 2]],
        next=None if start + 2 >= len(numbers) else "more" if after != "more" else "still more",
    )


cursor_of_now = notes_exporter("a cursor that is the time of the answer")


@cursor_of_now.changes("notes", row=Note, key="id")
async def notes_until_now(client: Notes, since: str | None) -> Changes[Note]:
    numbers = [number for number, at in client.changed.items() if at > int(since or 0)]
    deleted = [number for number, at in client.deleted.items() if at > int(since or 0)]
    found = [Note(number, client.texts[number]) for number in numbers]
    await travel()
    return Changes(found, deleted, cursor=str(client.clock))


PLANTED = (
    "no_find",
    "key_of_attempt",
    "keeps_created",
    "find_by_name",
    "update_creates",
    "half_made",
    "swallowed",
    "appends",
    "keeps_deleted",
    "mark_first",
    "lost_records",
    "mark_outside",
    "commits_anyway",
    "publish_repeats",
    "stage_without_id",
    "by_time",
    "partial_list",
    "partial_rows",
    "cursor_first",
    "cursor_of_now",
)
"""The names of all of them."""
