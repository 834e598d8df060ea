"""A handler that does what it must not is named with its line; nothing is lost, repeated, or shown that is a secret."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw
import pytest

import pipeline
from pipeline.kit import Again, Batch, Delete, Finding, Gone, Import, Importer, Level, Refused, Secret, StagedFile
from pipeline.kit.loading.destination import ImporterDestination
from pipeline.log_events import log
from tests.kit.app import move

Declare = Callable[[Importer, list[object]], object]


@pytest.fixture
def source(tmp_path: Path) -> str:
    with apsw.Connection(str(tmp_path / "app.db")) as app:
        app.execute("CREATE TABLE things (id INTEGER PRIMARY KEY, name TEXT)")
        app.execute("INSERT INTO things VALUES (1, 'one'), (2, 'two'), (3, 'three')")
    app.close()
    return str(tmp_path / "app.db")


def creates_returning(value: object) -> Declare:
    def declare(importer: Importer, done: list[object]) -> object:
        async def create(target: None, row: dict[str, object], ctx: Import) -> Any:
            return value if not done else f"new-{row['id']}"

        return importer.creates("things", row=dict)(create)

    return declare


def finds_returning(value: object) -> Declare:
    def declare(importer: Importer, done: list[object]) -> object:
        async def create(target: None, row: dict[str, object], ctx: Import) -> str:
            if not done:
                raise TimeoutError("no answer")
            return f"new-{row['id']}"

        async def find(target: None, row: dict[str, object], ctx: Import) -> Any:
            return value if not done else None

        importer.creates("things", row=dict)(create).find(find)
        return find

    return declare


def applies_doing(what: Callable[[Batch[dict[str, object]]], object]) -> Declare:
    def declare(importer: Importer, done: list[object]) -> object:
        async def apply(target: None, batch: Batch[dict[str, object]], ctx: Import) -> None:
            if not done:
                what(batch)

        return importer.applies("things", row=dict)(apply)

    return declare


def applies_returning(value: object) -> Declare:
    def declare(importer: Importer, done: list[object]) -> object:
        async def apply(target: None, batch: Batch[dict[str, object]], ctx: Import) -> Any:
            assert [record.row["id"] for record in batch.upserts[1:]] == [2, 3]
            assert (len(batch.upserts), len(batch.deletes), bool(batch.deletes)) == (3, 0, False)
            return None if done else value

        return importer.applies("things", row=dict)(apply)

    return declare


def stages_doing(token: object, published: Callable[[], object] = lambda: None) -> Declare:
    def declare(importer: Importer, done: list[object]) -> object:
        async def stage(target: None, file: StagedFile[dict[str, object]], ctx: Import) -> Any:
            if isinstance(token, Exception) and not done:
                raise token
            return token if not done else "token"

        async def publish(target: None, tokens: Sequence[str], ctx: Import) -> None:
            if not done:
                published()

        importer.stages("things", row=dict)(stage).publish(publish)
        return stage

    return declare


class UnreadableTextError(Exception):
    """An exception whose text cannot be read."""

    def __str__(self) -> str:
        raise ZeroDivisionError

    __repr__ = __str__


def fail(error: BaseException) -> object:
    raise error


CASES = [
    (creates_returning(None), "returned None in place of the new id. Return text"),
    (creates_returning(5), "returned 5 in place of the new id. Return text"),
    (creates_returning(""), "returned '' in place of the new id. Return text"),
    (creates_returning("new\udcff"), r"returned 'new\\udcff' in place of the new id. Return text"),
    (finds_returning(7), "returned 7 in place of the new id. Return text"),
    (finds_returning(("a", 1)), "returned a value of the type tuple in place of the new id. Return text"),
    (
        applies_doing(lambda batch: batch.refuse(Delete(1, 2), "no")),
        "batch.refuse was given something that is no record",
    ),
    (applies_returning(True), "returned True, which says nothing here. Return nothing"),
    (applies_doing(lambda batch: fail(KeyError("x"))), r"failed 4 times: KeyError: 'x' \(.*, line \d+\)"),
    (applies_doing(lambda batch: fail(SystemExit(3))), r"failed 4 times: SystemExit: 3 \(.*, line \d+\)"),
    (applies_doing(lambda batch: fail(KeyboardInterrupt())), r"failed 4 times: KeyboardInterrupt \(.*, line \d+\)"),
    (
        applies_doing(lambda batch: fail(BaseExceptionGroup("", [KeyboardInterrupt()]))),
        r"failed 4 times: KeyboardInterrupt",
    ),
    (
        applies_doing(lambda batch: fail(UnreadableTextError())),
        r"failed 4 times: UnreadableTextError: its text cannot be read",
    ),
    (applies_returning([UnreadableTextError()]), "returned a value of the type list, which says nothing"),
    (applies_doing(lambda batch: fail(Gone())), "the app says that an object which this record needs is gone"),
    (applies_doing(lambda batch: fail(OSError("no \udcff"))), r"failed 4 times: OSError: no \\udcff \(.*, line \d+\)"),
    (applies_doing(lambda batch: fail(Refused("no \udcff"))), r"no \\udcff"),
    (applies_doing(lambda batch: fail(Refused("no", 5))), "rejected"),  # type: ignore[arg-type]
    (applies_doing(lambda batch: list(map(batch.refuse, batch.records, "abc", [5] * 3))), "rejected"),  # type: ignore[arg-type]
    (stages_doing(None), "returned None in place of a token. Return text"),
    (stages_doing(Refused("not this file")), r"staging 'things' was refused: not this file \(.*, line \d+\)"),
    (stages_doing("t", lambda: fail(Refused("not now"))), r"publishing 'things' was refused: not now \(.*, line \d+\)"),
]


@pytest.mark.parametrize(("declare", "message"), CASES)
async def test_it_is_named_with_its_line_and_what_was_held_back_is_imported_later(
    declare: Declare, message: str, source: str, tmp_path: Path
) -> None:
    importer, done = Importer("app"), list[object]()
    declare(importer, done)
    destination = ImporterDestination("app:x", importer, None)
    movement = await move(source, destination, tmp_path)
    assert movement.status in (pipeline.Status.FAILED, pipeline.Status.INCOMPLETE)
    told = "\n".join(movement.problems)
    assert re.search(message, told), told
    if "rejected" not in told:
        assert re.search(rf"{re.escape(__file__)}, line \d+", told)
    done.append("mended")
    movement = await move(source, destination, tmp_path)
    assert (movement.status, movement.totals.upserts) == (pipeline.Status.SUCCESS, 3)


@pytest.mark.parametrize("how", [RuntimeError, Refused])
async def test_a_secret_in_the_text_of_an_exception_is_not_shown(
    how: Callable[[str], Exception], source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THE_TOKEN", "very secret")
    token = Secret("env:THE_TOKEN")
    importer = Importer("app")

    @importer.applies("things", row=dict)
    async def apply(target: None, batch: Batch[dict[str, object]], ctx: Import) -> None:
        first, *others = batch.records
        batch.refuse(first, f"{token.reveal()} was not accepted")
        if others:
            raise how(f"GET https://x/?token={token.reveal()} failed")

    movement = await move(source, ImporterDestination("app:x", importer, None), tmp_path)
    assert "***" in "\n".join(movement.problems)
    for path in (tmp_path / "home").rglob("*"):
        assert not path.is_file() or b"very secret" not in path.read_bytes(), path


async def test_a_secret_in_what_a_row_type_raises_is_not_shown(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THE_TOKEN", "very secret")
    importer = Importer("app")

    @dataclass
    class Thing:
        id: int
        name: str

        def __post_init__(self) -> None:
            raise ValueError(f"{self.name} is not at https://x/?token={Secret('env:THE_TOKEN').reveal()}")

    @importer.applies("things", row=Thing)
    async def apply(target: None, batch: Batch[Thing], ctx: Import) -> None: ...

    movement = await move(source, ImporterDestination("app:x", importer, None), tmp_path)
    assert "ValueError: one is not at https://x/?token=***" in movement.problems[0]
    for path in (tmp_path / "home").rglob("*"):
        assert not path.is_file() or b"very secret" not in path.read_bytes(), path


@pytest.mark.parametrize("level", [Level.WARNING, Level.ERROR])
async def test_a_secret_in_what_a_check_found_is_not_shown(
    level: Level, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THE_TOKEN", "very secret")
    importer, said = Importer("app"), list[str]()
    monkeypatch.setattr(log, "info", lambda event, **fields: said.append(f"{event} {fields}"))

    @importer.applies("things", row=dict)
    async def apply(target: None, batch: Batch[dict[str, object]], ctx: Import) -> None: ...

    @importer.check("token", title="The token is valid")
    async def check(target: None) -> AsyncIterator[Finding]:
        yield Finding(f"{Secret('env:THE_TOKEN').reveal()} ends in May", level)

    try:
        await move(source, ImporterDestination("app:x", importer, None), tmp_path)
    except pipeline.ConfigurationError as error:
        said.append(str(error))
    shown = "\n".join(said)
    assert "*** ends in May" in shown
    assert "very secret" not in shown


async def test_a_record_that_only_an_attempt_that_failed_has_refused_counts_as_applied(
    source: str, tmp_path: Path
) -> None:
    importer, calls = Importer("app"), list[int]()

    @importer.applies("things", row=dict)
    async def apply(target: None, batch: Batch[dict[str, object]], ctx: Import) -> None:
        calls.append(len(batch.records))
        if len(calls) == 1:
            batch.refuse(batch.records[0], "not yet")
            raise TimeoutError("no answer")

    movement = await move(source, ImporterDestination("app:x", importer, None), tmp_path)
    assert (movement.status, movement.totals.upserts, calls) == (pipeline.Status.SUCCESS, 3, [3, 3])


async def test_the_once_key_is_one_for_each_version_of_a_record_on_every_attempt(source: str, tmp_path: Path) -> None:
    importer, keys = Importer("app"), list[tuple[object, object, str]]()
    failing = True

    @importer.creates("things", row=dict)
    async def create(target: None, row: dict[str, object], ctx: Import) -> str:
        keys.append((row["id"], row["name"], ctx.once_key))
        if failing and row["id"] == 1:
            raise Refused("not yet")
        if failing and len(keys) < 5:
            raise TimeoutError("no answer")
        return f"new-{row['id']}"

    @create.update
    async def update(target: None, id_: str, row: dict[str, object], ctx: Import) -> None:
        keys.append((row["id"], row["name"], ctx.once_key))

    for _ in range(2):  # another session, as another process has it
        await move(source, ImporterDestination("app:x", importer, None), tmp_path)
    failing = False
    await move(source, ImporterDestination("app:x", importer, None), tmp_path)
    with apsw.Connection(source) as app:
        app.execute("UPDATE things SET name = 'again' WHERE id = 2")
    app.close()
    await move(source, ImporterDestination("app:x", importer, None), tmp_path)
    versions = {(id_, name): {key for one, other, key in keys if (one, other) == (id_, name)} for id_, name, _ in keys}
    assert [len(found) for found in versions.values()] == [1] * 4
    assert len(set.union(*versions.values())) == 4
    assert sum(id_ == 1 for id_, _, _ in keys) >= 3


async def test_a_connection_that_yields_twice_is_named_with_its_line(source: str, tmp_path: Path) -> None:
    importer = Importer("app")

    @importer.connect
    async def connect() -> AsyncIterator[None]:
        yield
        yield

    @importer.applies("things", row=dict)
    async def apply(target: None, batch: Batch[dict[str, object]], ctx: Import) -> None: ...

    with pytest.raises(pipeline.ConfigurationError, match=rf"{re.escape(__file__)}, line \d+.* yields twice"):
        await move(source, ImporterDestination("app:x", importer, None), tmp_path)


@pytest.mark.parametrize("delivery", ["keyed", "transaction", "staged", "found"])
async def test_the_attempt_counts_calls_that_failed_and_no_waiting(source: str, tmp_path: Path, delivery: str) -> None:
    importer, attempts = Importer("app"), list[int]()

    async def take(ctx: Import) -> None:
        if ctx.file.startswith("1/things") and ctx.line == 2:
            attempts.append(ctx.attempt)
            if len(attempts) == 2:
                raise Again(after=0.01)
            if len(attempts) < 4:
                raise TimeoutError("no answer")

    if delivery == "found":

        @importer.creates("things", row=dict)
        async def create(target: None, row: dict[str, object], ctx: Import) -> str:
            await take(ctx)
            return f"new-{row['id']}"

        @create.find
        async def find(target: None, row: dict[str, object], ctx: Import) -> str | None:
            return None

    elif delivery == "staged":

        @importer.stages("things", row=dict)
        async def stage(target: None, file: StagedFile[dict[str, object]], ctx: Import) -> str:
            await take(ctx)
            return file.id

        @stage.publish
        async def publish(target: None, tokens: Sequence[str], ctx: Import) -> None: ...

    else:
        marks: dict[str, bytes] = {}

        @importer.transaction
        async def transaction(target: None) -> AsyncIterator[None]:
            yield None

        @transaction.read_marks
        async def read_marks(tx: None) -> dict[str, bytes]:
            return marks

        @transaction.write_mark
        async def write_mark(tx: None, file: str, mark: bytes) -> None:
            marks[file] = mark

        async def apply(target: None, batch: Batch[dict[str, object]], ctx: Import) -> None:
            await take(ctx)

        if delivery == "keyed":
            importer.applies("things", row=dict, delivery="keyed")(apply)
        else:
            importer.applies("things", row=dict, delivery="transaction")(apply)

    movement = await move(source, ImporterDestination("app:x", importer, None), tmp_path)
    assert (movement.status, attempts) == (pipeline.Status.SUCCESS, [1, 2, 2, 3])
