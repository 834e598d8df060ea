"""The kit as an author uses it. Nothing here runs: mypy checks it, and that each mistake is reported at its line."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

import msgspec

from pipeline.kit import Batch, Changes, Creates, Exporter, Finding, Import, Importer, Key, Page, Secret, StagedFile


class Client:
    def __init__(self, url: str, token: str) -> None: ...

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *error: object) -> None: ...

    async def get(self, path: str, after: str | None) -> Mapping[str, object]:
        raise NotImplementedError

    async def post(self, path: str, body: Mapping[str, object], key: str) -> Mapping[str, str]:
        raise NotImplementedError


@dataclass
class Settings:
    url: str
    token: Secret = Secret("")  # noqa: RUF009  # a Secret does not change


@dataclass
class Issue:
    id: int
    project_id: int
    title: str


class Label(msgspec.Struct):
    id: int


class Note(TypedDict):
    id: int


exporter = Exporter("tracker", contract="tracker/1")


@exporter.connect
async def connect(settings: Settings) -> AsyncIterator[Client]:
    async with Client(settings.url, settings.token.reveal()) as client:
        yield client


@exporter.pages("issues", row=Issue, key="id", order="shifting")
async def issues(client: Client, after: str | None) -> Page[Issue]:
    await client.get("/issues", after=after)
    return Page([Issue(1, 1, "one")], next="2", total=7)


@exporter.changes("issues", row=Issue, key="id", lag=60)
async def changes(client: Client, since: str | None) -> Changes[Issue]:
    return Changes([Issue(1, 1, "one")], deletes=[7], cursor="1")


@exporter.fetch("issues")
async def fetch(client: Client, keys: Sequence[int]) -> Sequence[Issue]:
    return []


@exporter.estimate("issues")
async def estimate(client: Client) -> int:
    return 7


@exporter.check("reachable", title="The app answers")
async def check(client: Client) -> AsyncIterator[Finding]:
    yield Finding("It answers slowly.")


@exporter.rows("labels", row=Label, key=("id",), ordered=True, group="issues", scopes=("pii",))
async def labels(client: Client) -> AsyncIterator[Label]:
    yield Label(1)


@exporter.rows("notes", row=Note, key="id")
async def notes(client: Client) -> AsyncIterator[Note]:
    yield {"id": 1}


@exporter.rows("plain", row=dict, key="id", columns={"id": int, "name": str | None})
async def plain(client: Client) -> AsyncIterator[dict[str, object]]:
    yield {"id": 1}


importer = Importer("tracker-cloud", accepts="tracker/1")
importer.connect(connect)


@importer.creates("issues", row=Issue, delivery="found")
async def create(target: Client, issue: Issue, ctx: Import) -> str:
    project = await ctx.ids.need("projects", issue.project_id)
    return (await target.post("/issues", {"project": project, "title": issue.title}, key=ctx.once_key))["id"]


@create.find
async def find(target: Client, issue: Issue, ctx: Import) -> str | None:
    return None


@create.update
async def update(target: Client, id_: str, issue: Issue, ctx: Import) -> None: ...


@create.delete
async def delete(target: Client, id_: str, ctx: Import) -> None: ...


created: Creates[Client, Issue] = create


@importer.applies("*", row=dict, batch=100)
async def apply(target: Client, batch: Batch[dict[str, object]], ctx: Import) -> None:
    for upsert in batch.upserts:
        batch.refuse(upsert, "no", column="name")


@importer.stages("documents", row=Issue)
async def stage(target: Client, file: StagedFile[Issue], ctx: Import) -> str:
    return file.id


@stage.publish
async def publish(target: Client, tokens: Sequence[str], ctx: Import) -> None: ...


@importer.transaction
async def transaction(target: Client) -> AsyncIterator[dict[str, bytes]]:
    yield {}


@transaction.read_marks
async def read_marks(tx: dict[str, bytes]) -> Mapping[str, bytes]:
    return tx


@transaction.write_mark
async def write_mark(tx: dict[str, bytes], file: str, mark: bytes) -> None:
    tx[file] = mark


@importer.applies("labels", row=Label, delivery="transaction")
async def apply_labels(tx: dict[str, bytes], batch: Batch[Label], ctx: Import) -> None: ...


@importer.dump
async def dump(target: Client) -> AsyncIterator[tuple[str, Key, Mapping[str, object]]]:
    yield "issues", 1, {"id": 1}


@importer.scratch
async def scratch() -> AsyncIterator[Client]:
    yield Client("", "")


@exporter.pages("wrong page", row=Issue, key="id")  # type: ignore[arg-type]
async def wrong_page(client: Client, after: str | None) -> Page[Label]:
    return Page([])


@exporter.rows("wrong row", row=Issue, key="id")  # type: ignore[arg-type]
async def wrong_row(client: Client) -> AsyncIterator[Label]:
    yield Label(1)


@importer.creates("wrong id", row=Issue)  # type: ignore[arg-type]
async def wrong_id(target: Client, issue: Issue, ctx: Import) -> int:
    return 1


@create.find  # type: ignore[arg-type]
async def wrong_find(target: Client, issue: Issue, ctx: Import) -> int:
    return 1


@create.update  # type: ignore[arg-type]
async def wrong_update(target: Client, id_: int, issue: Issue, ctx: Import) -> None: ...


@importer.applies("wrong batch", row=Issue)  # type: ignore[arg-type]
async def wrong_batch(target: Client, batch: Batch[Label], ctx: Import) -> None: ...


@transaction.write_mark  # type: ignore[arg-type]
async def wrong_mark(tx: dict[str, bytes], file: str, mark: str) -> None: ...


@stage.publish  # type: ignore[arg-type]
async def wrong_tokens(target: Client, tokens: Sequence[int], ctx: Import) -> None: ...


@exporter.changes("wrong changes", row=Issue, key="id")  # type: ignore[arg-type]
async def wrong_changes(client: Client, since: str | None) -> Changes[Label]:
    return Changes([], cursor="1")
