"""Contents of Binary fields: read once, stored before the rows that name them, and the same at every destination."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, TypedDict

import apsw
import msgspec
import pydantic
import pytest

import pipeline
from pipeline.connectors.sql import contents as sql_contents
from pipeline.domain.contents import Content, parse_content
from pipeline.domain.ids import BinaryId
from pipeline.kit import Batch, Binary, Exporter, Gone, Import, Importer, Refused, Stop
from pipeline.kit.loading.destination import ImporterDestination
from pipeline.kit.reading.source import ExporterSource
from tests.connectors.postgres.places import place_factory
from tests.kit.app import move
from tests.kit.binary_app import HOW, Attachment, Attachments
from tests.servers.postgresql import PostgresqlServer


def held(home: Path) -> dict[int, tuple[str, bytes | None]]:
    """Return the rows at the destination."""
    copy = apsw.Connection(str(home / "copy.db"))
    try:
        return {int(str(row[0])): (str(row[1]), row[2]) for row in copy.execute("SELECT * FROM files")}
    finally:
        copy.close()


def wanted(app: Attachments) -> dict[int, tuple[str, bytes]]:
    return {number: (app.titles.get(number, "t"), content) for number, content in app.contents.items()}


def filled() -> Attachments:
    """Return an app with contents of many sizes: an empty one, many small ones, and one of several megabytes."""
    app = Attachments()
    for number in range(20):
        app.put(number, b"content %d " % number * number * 10, "1")
    app.put(20, os.urandom(3_000_000), "1")
    app.put(21, b"without a version")
    app.piece = 100_000
    return app


@pytest.mark.parametrize("how", HOW)
async def test_a_content_is_read_once_and_again_only_as_a_new_version(how: str, tmp_path: Path) -> None:
    app, copy = filled(), str(tmp_path / "copy.db")
    movement = await move(app.source(how), copy, tmp_path)
    assert movement.status is pipeline.Status.SUCCESS, movement.problems
    assert (held(tmp_path), sorted(app.read)) == (wanted(app), list(range(22)))
    app.read.clear()
    again = await move(app.source(how), copy, tmp_path)
    assert (again.totals.files_exported, app.read) == (0, [] if how == "changes" else [21])
    app.read.clear()
    app.titles[3] = "another"
    app.log.append(3)
    app.put(4, b"changed", "2")
    app.put(21, b"also changed")
    app.put(22, b"new", "1")
    del app.contents[7]
    app.log.append(7)
    movement = await move(app.source(how), copy, tmp_path)
    assert (movement.totals.upserts, movement.totals.deletes, held(tmp_path)) == (
        4,
        how != "shifting",
        {**old(how), **wanted(app)},
    )
    assert sorted(app.read) == [4, 21, 22]


def old(how: str) -> dict[int, tuple[str, bytes]]:
    """Return what is still there of the row that was removed: with pages that shift it may be on another page."""
    return {7: ("t", b"content 7 " * 70)} if how == "shifting" else {}


@pytest.mark.parametrize("how", HOW)
async def test_a_version_that_is_new_and_a_content_that_is_not_move_nothing(how: str, tmp_path: Path) -> None:
    app, copy = Attachments({1: b"same"}, {1: "1"}, log=[1]), str(tmp_path / "copy.db")
    await move(app.source(how), copy, tmp_path)
    app.put(1, b"same", "2")
    movement = await move(app.source(how), copy, tmp_path)
    assert (movement.totals.files_exported, app.read) == (0, [1, 1])


@pytest.mark.parametrize("how", ["stable", "shifting", "changes"])
async def test_an_export_that_goes_on_reads_no_content_again(how: str, tmp_path: Path) -> None:
    app, copy = filled(), str(tmp_path / "copy.db")

    def fail(after: str | None) -> None:
        if after == "12":
            raise ConnectionError("closed")

    app.before_page = fail
    with pytest.raises(pipeline.TransientError):
        await move(app.source(how), copy, tmp_path)
    assert len(app.read) == 12
    app.before_page = lambda after: None
    movement = await move(app.source(how), copy, tmp_path)
    assert (movement.number, movement.status) == (1, pipeline.Status.SUCCESS)
    assert (held(tmp_path), sorted(app.read)) == (wanted(app), list(range(22)))
    app.read.clear()
    app.titles = dict.fromkeys(range(21), "all have changed")
    app.log += range(21)
    await move(app.source(how), copy, tmp_path)
    assert (held(tmp_path), set(app.read) - {21}) == (wanted(app), set())


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("error", [OSError("closed"), Refused("is private"), Gone("is away"), ValueError("x")])
async def test_a_row_whose_content_cannot_be_read_is_rejected_and_named(
    how: str, error: Exception, tmp_path: Path
) -> None:
    app, copy = filled(), str(tmp_path / "copy.db")
    await move(app.source(how), copy, tmp_path)
    before = held(tmp_path)

    def fail(number: int) -> None:
        if number == 5:
            raise error

    app.before = fail
    app.put(5, b"not to be read", "2")
    app.put(6, b"read", "2")
    movement = await move(app.source(how), copy, tmp_path)
    assert movement.status is pipeline.Status.INCOMPLETE
    named = [(one.stream, one.key, one.column) for one in movement.rejections.named]
    assert named == [("files", "[5]", "content")]
    assert re.search(
        rf"the content cannot be read: {type(error).__name__}.*\(.*test_binary_fields.py, line \d+\)",
        movement.rejections.named[0].reason,
    )
    assert held(tmp_path) == {**wanted(app), 5: before[5]}
    app.before = lambda number: None
    movement = await move(app.source(how), copy, tmp_path)
    assert (movement.status, held(tmp_path)) == (pipeline.Status.SUCCESS, wanted(app))
    assert (await move(app.source(how), copy, tmp_path)).totals.files_exported == 0


async def test_a_stop_while_a_content_is_read_ends_the_stream(tmp_path: Path) -> None:
    app = filled()

    def stop(number: int) -> None:
        raise Stop("the app is closed")

    app.before = stop
    movement = await move(app.source("rows"), str(tmp_path / "copy.db"), tmp_path)
    assert re.search(r"has stopped: the app is closed \(.*binary_app.py, line", movement.problems[0])


async def test_an_app_that_gives_no_content_at_all_is_not_asked_four_times_for_each(tmp_path: Path) -> None:
    app = filled()

    def fail(number: int) -> None:
        raise OSError("closed")

    app.before = fail
    movement = await move(app.source("rows"), str(tmp_path / "copy.db"), tmp_path)
    assert movement.rejections.count == 22
    assert len(app.read) < 22 + 4 * 10


def opening(given: list[Any]) -> ExporterSource:
    """Return an app with one row for each of these values of a Binary field."""
    exporter = Exporter("app")

    @exporter.rows("files", row=Attachment, key="id", ordered=True)
    async def files(client: None) -> AsyncIterator[Attachment]:
        for number, one in enumerate(given):
            yield Attachment(number, "t", one)

    return ExporterSource("app:source", exporter, None)


async def test_a_content_is_a_path_or_bytes_or_none(tmp_path: Path) -> None:
    path = tmp_path / "content"
    path.write_bytes(b"of a file" * 500_000)
    source = opening([Binary(path), Binary(str(path)), Binary(b"bytes"), None, Binary(b"")])
    movement = await move(source, str(tmp_path / "copy.db"), tmp_path)
    assert movement.status is pipeline.Status.SUCCESS, movement.problems
    content = path.read_bytes()
    found = [found for _, (_, found) in sorted(held(tmp_path).items())]
    assert found == [content, content, b"bytes", None, b""]


def numbers() -> AsyncIterator[int]:
    async def give() -> AsyncIterator[int]:
        yield 7

    return give()


QUERY = "SELECT id, title, encode(content, 'hex') FROM files"
BAD = [
    (Path("/no/such/file"), r"the content cannot be read: No such file or directory"),
    (Path("/"), r"the content cannot be read: Is a directory"),
    ("no\0path", r"the content cannot be read: embedded null byte"),
    (numbers, r"TypeError: a piece of a content is of the type int, not bytes \(.*test_binary_fields.py, line"),
    (lambda: 7, r"TypeError: 'async for' requires an object with __aiter__ method, got int \(.*line"),
]


@pytest.mark.parametrize(("given", "message"), BAD)
async def test_what_is_no_content_is_rejected(given: Any, message: str, tmp_path: Path) -> None:
    movement = await move(opening([Binary(b"good"), Binary(given)]), str(tmp_path / "copy.db"), tmp_path)
    assert re.search(message, movement.rejections.named[0].reason)
    assert held(tmp_path) == {0: ("t", b"good")}


async def test_a_value_that_is_no_binary_is_named(tmp_path: Path) -> None:
    movement = await move(opening(["text"]), str(tmp_path / "copy.db"), tmp_path)
    fault = (
        r"line \d+: the row with key \[0\] of the stream 'files' has in the column 'content' .* type str, not Binary"
    )
    assert re.search(fault, movement.problems[0])


class Struct(msgspec.Struct):
    id: int
    content: Binary | None = None


class Model(pydantic.BaseModel):
    id: int
    content: Binary | None = None


class Dictionary(TypedDict):
    id: int
    content: Binary


async def pieces_of_text() -> AsyncIterator[bytes]:
    yield b"from a "
    yield b"function"


@pytest.mark.parametrize("row", [Struct, Model, Dictionary])
@pytest.mark.parametrize(("given", "content"), [(b"bytes", b"bytes"), (pieces_of_text, b"from a function")])
async def test_every_kind_of_row_has_contents(row: Any, given: Any, content: bytes, tmp_path: Path) -> None:
    exporter = Exporter("app")

    @exporter.rows("files", row=row, key="id")
    async def files(client: None) -> AsyncIterator[Any]:
        yield row(id=1, content=Binary(given, version="1", name="x"))

    movement = await move(ExporterSource("app:source", exporter, None), str(tmp_path / "copy.db"), tmp_path)
    assert movement.status is pipeline.Status.SUCCESS, movement.problems
    copy = apsw.Connection(str(tmp_path / "copy.db"))
    assert copy.execute("SELECT * FROM files").fetchall() == [(1, content)]
    copy.close()


BAD_BINARIES: list[tuple[Any, str]] = [
    (Binary(b"x", version=7), "a Binary whose version is of the type int, not str"),  # type: ignore[arg-type]
    (Binary(b"x", name=b"x"), "a Binary whose name is of the type bytes, not str"),  # type: ignore[arg-type]
    (Binary(7), "a Binary of a value of the type int, not of bytes, a path or a function"),  # type: ignore[arg-type]
    (Binary(b"x", version="\udcff"), "has a key or a version that is no valid text: '\\\\udcff'"),
]


@pytest.mark.parametrize(("binary", "message"), BAD_BINARIES)
async def test_a_binary_that_cannot_be_stored_is_named(binary: Binary, message: str, tmp_path: Path) -> None:
    movement = await move(opening([binary]), str(tmp_path / "copy.db"), tmp_path)
    assert re.search(rf"test_binary_fields.py, line \d+: .*{message}", movement.problems[0]), movement.problems


async def test_a_content_that_a_database_cannot_hold_is_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql_contents, "MAX_CONTENT_BYTES", 10)
    movement = await move(opening([Binary(b"x" * 10), Binary(b"x" * 11)]), str(tmp_path / "copy.db"), tmp_path)
    assert movement.totals.rejected == 1
    assert held(tmp_path) == {0: ("t", b"x" * 10)}
    monkeypatch.undo()
    assert "a content of more than 10 bytes" in str(movement.problems)


@pytest.mark.parametrize("how", HOW)
async def test_an_importer_opens_each_content_and_knows_its_name(how: str, tmp_path: Path) -> None:
    app, importer = filled(), Importer("app")
    app.named = True
    found: dict[int, tuple[str | None, str | None, bytes]] = {}

    @importer.applies("files", row=Attachment)
    async def apply(target: None, batch: Batch[Attachment], ctx: Import) -> None:
        for upsert in batch.upserts:
            row = upsert.row
            assert row.content is not None
            async with ctx.binary(row.content) as pieces:
                content = b"".join([piece async for piece in pieces])
            found[row.id] = row.content.name, row.content.media_type, content

    movement = await move(app.source(how), ImporterDestination("app:there", importer, None), tmp_path)
    assert movement.status is pipeline.Status.SUCCESS, movement.problems
    assert found == {number: (f"{number} %;=ü.txt", "text/plain", content) for number, content in app.contents.items()}
    app.named = False
    app.log += app.contents
    await move(app.source(how), ImporterDestination("app:there", importer, None), tmp_path)
    assert found == {number: (None, None, content) for number, content in app.contents.items()}


@pytest.mark.parametrize("name", [None, "", "a b.png", "ü;type=x", "\udcff"])
def test_a_content_is_written_with_what_is_known(name: str | None) -> None:
    for media_type in (None, "image/png"):
        content = Content(BinaryId("0f" * 32), name, media_type)
        assert parse_content(str(content)) == content
        assert str(content).isascii()


async def test_the_name_of_a_content_is_not_stored_in_a_database(tmp_path: Path) -> None:
    app = filled()
    app.named = True
    await move(app.source("stable"), str(tmp_path / "copy.db"), tmp_path)
    assert held(tmp_path) == wanted(app)


async def test_rows_like_those_of_a_tree_become_files(tmp_path: Path) -> None:
    exporter = Exporter("app")
    columns = {
        "path": str,
        "kind": str,
        "mode": int,
        "mtime_ns": int,
        "digest": Binary | None,
        "target": str | None,
    }

    @exporter.rows("uploads", row=dict, columns=columns, key="path")
    async def uploads(client: None) -> AsyncIterator[dict[str, object]]:
        yield {"path": "a/one.txt", "kind": "file", "mode": 0o644, "mtime_ns": 10**18, "digest": Binary(b"1", name="x")}
        yield {"path": "a", "kind": "directory", "mode": 0o755, "mtime_ns": 10**18}

    source, there = ExporterSource("app:source", exporter, None), tmp_path / "tree"
    movement = await move(source, f"file://{there}", tmp_path)
    assert movement.status is pipeline.Status.SUCCESS, movement.problems
    assert (there / "a/one.txt").read_bytes() == b"1"
    assert (await move(source, f"file://{there}", tmp_path)).totals.files_exported == 0


@pytest.mark.server
async def test_contents_are_bytes_at_postgresql(postgresql: PostgresqlServer, tmp_path: Path) -> None:
    place, app = place_factory(postgresql)(), filled()

    def there() -> dict[object, object]:
        return {number: (title, bytes.fromhex(str(content))) for number, title, content in place.rows(QUERY)}

    movement = await move(app.source("stable"), place.uri, tmp_path)
    assert movement.status is pipeline.Status.SUCCESS, movement.problems
    assert there() == wanted(app)
    app.put(3, b"changed", "2")
    movement = await move(app.source("stable"), place.uri, tmp_path)
    assert (movement.totals.upserts, movement.totals.binaries_imported) == (1, 1)
    assert there() == wanted(app)
