"""What is put into the id map in a transaction is there if the transaction is committed, and only then."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import apsw
import pytest

import pipeline
from pipeline.kit import Batch, Import, Importer, Refused
from pipeline.kit.loading.destination import ImporterDestination
from tests.kit.app import move


class Killed(BaseException):
    """The process dies here."""


@pytest.fixture
def source(tmp_path: Path) -> str:
    with apsw.Connection(str(tmp_path / "app.db")) as app:
        app.execute("CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT)")
        app.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, person INTEGER)")
        app.execute("INSERT INTO people VALUES (1, 'Ada'), (2, 'Grace'); INSERT INTO notes VALUES (7, 1), (8, 2)")
    app.close()
    return str(tmp_path / "app.db")


@dataclass
class Transacted:
    """An app that numbers people in transactions, and takes notes that name them. `fail` may raise at each step."""

    fail: Callable[[str], None] = lambda step: None
    people: dict[str, str] = field(default_factory=dict)
    marks: dict[str, bytes] = field(default_factory=dict)
    notes: dict[object, str | None] = field(default_factory=dict)
    numbers: int = 0
    seen: list[str | None] = field(default_factory=list)

    def importer(self) -> Importer:
        importer = Importer("transacted")

        @importer.transaction
        async def transaction(target: None) -> AsyncIterator[dict[str, str]]:
            changes: dict[str, str] = {}
            yield changes
            self.fail("commit")
            self.marks |= {name: bytes.fromhex(mark) for name, mark in changes.items() if " " in name}
            self.people |= {name: number for name, number in changes.items() if " " not in name}
            self.fail("answer")

        @transaction.read_marks
        async def read_marks(changes: dict[str, str]) -> Mapping[str, bytes]:
            return self.marks

        @transaction.write_mark
        async def write_mark(changes: dict[str, str], file: str, mark: bytes) -> None:
            self.fail("mark")
            changes[file] = mark.hex()

        @importer.applies("people", row=dict, delivery="transaction")
        async def apply_people(changes: dict[str, str], batch: Batch[dict[str, object]], ctx: Import) -> None:
            for upsert in batch.upserts:
                self.fail(str(upsert.row["name"]))
                self.numbers += 1  # as a sequence does, which no rollback takes back
                changes[str(upsert.row["name"])] = f"new-{self.numbers}"
                await ctx.ids.put("people", upsert.key, f"new-{self.numbers}")
                self.seen.append(await ctx.ids.get("people", upsert.key))

        @importer.applies("notes", row=dict, after=("people",))
        async def apply_notes(target: None, batch: Batch[dict[str, object]], ctx: Import) -> None:
            known = await ctx.ids.many("people", [upsert.row["person"] for upsert in batch.upserts])
            self.notes |= {upsert.key: known.get(upsert.row["person"]) for upsert in batch.upserts}

        return importer

    def destination(self) -> ImporterDestination:
        return ImporterDestination("transacted:x", self.importer(), None)

    @property
    def right(self) -> dict[object, str]:
        """The notes as they must be: each names the number that its person has."""
        return {7: self.people["Ada"], 8: self.people["Grace"]}


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.kit.loading.delivery.transactions.FIRST_PAUSE_SECONDS", 0.001)


async def test_a_handler_sees_what_it_has_put(source: str, tmp_path: Path) -> None:
    app = Transacted()
    movement = await move(source, app.destination(), tmp_path)
    assert (movement.status, app.seen) == (pipeline.Status.SUCCESS, ["new-1", "new-2"])
    assert app.notes == app.right
    assert not [*(tmp_path / "home").rglob("held-ids/*")]


@pytest.mark.parametrize("step", ["mark", "commit"])
async def test_what_is_rolled_back_is_not_in_the_id_map(step: str, source: str, tmp_path: Path) -> None:
    app = Transacted()

    def fail(at: str) -> None:
        if at == step:
            raise TimeoutError("here")

    app.fail = fail
    movement = await move(source, app.destination(), tmp_path)
    assert (movement.status, app.people) == (pipeline.Status.FAILED, {})
    importer = app.importer()
    importer.handlers["notes"].after = ()
    await move(source, ImporterDestination("transacted:x", importer, None), tmp_path)
    assert app.notes == {7: None, 8: None}
    app.fail = lambda at: None
    await move(source, app.destination(), tmp_path)
    with apsw.Connection(source) as db:
        db.execute("UPDATE notes SET person = 3 - person")
    await move(source, app.destination(), tmp_path)
    assert app.notes == {7: app.people["Grace"], 8: app.people["Ada"]}


@pytest.mark.parametrize("how", [Killed, TimeoutError])
async def test_what_is_committed_is_in_the_id_map_though_the_answer_is_lost(
    how: type[BaseException], source: str, tmp_path: Path
) -> None:
    app, left = Transacted(), [how("here")]
    app.fail = lambda at: _raise_once(left) if at == "answer" else None
    if how is Killed:
        with pytest.raises(Killed):
            await move(source, app.destination(), tmp_path)
    assert (await move(source, app.destination(), tmp_path)).status is pipeline.Status.SUCCESS
    assert (app.numbers, app.notes) == (2, app.right)
    assert not [*(tmp_path / "home").rglob("held-ids/*")]


def _raise_once(left: list[BaseException]) -> None:
    if left:
        raise left.pop()


async def test_an_id_of_a_record_that_is_accepted_later_is_in_the_id_map(source: str, tmp_path: Path) -> None:
    app = Transacted()

    def refuse(at: str) -> None:
        if at == "Ada":
            raise Refused("not yet")

    app.fail = refuse
    assert (await move(source, app.destination(), tmp_path)).totals.rejected == 1
    assert app.notes == {7: None, 8: app.people["Grace"]}
    app.fail = lambda at: None
    with apsw.Connection(source) as db:
        db.execute("INSERT INTO notes VALUES (9, 1)")
    assert (await move(source, app.destination(), tmp_path)).status is pipeline.Status.SUCCESS
    with apsw.Connection(source) as db:
        db.execute("INSERT INTO notes VALUES (10, 1)")
    await move(source, app.destination(), tmp_path)
    assert app.notes[10] == app.people["Ada"]


@dataclass
class Transactions:
    """The transactions of an app: how many were begun, and what each committed one changed."""

    begun: int = 0
    committed: list[dict[object, str]] = field(default_factory=list)
    marks: dict[str, bytes] = field(default_factory=dict)

    def declare(self, importer: Importer) -> None:
        """Declare them to an Importer."""

        @importer.transaction
        async def transaction(target: None) -> AsyncIterator[dict[object, str]]:
            self.begun += 1
            changes = dict[object, str]()
            yield changes
            self.committed.append(changes)

        @transaction.read_marks
        async def read_marks(changes: dict[object, str]) -> Mapping[str, bytes]:
            return self.marks

        @transaction.write_mark
        async def write_mark(changes: dict[object, str], file: str, mark: bytes) -> None:
            self.marks[file] = mark


async def test_records_that_wait_are_found_in_one_transaction_and_refused_ones_in_two_each(tmp_path: Path) -> None:
    with apsw.Connection(str(tmp_path / "app.db")) as app:
        app.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, person INTEGER)")
        app.executemany("INSERT INTO notes VALUES (?, ?)", [(id_, id_ % 2) for id_ in range(1, 401)])
    app.close()
    importer, sizes, refused = Importer("counted"), list[int](), {57, 58, 303}
    transactions = Transactions()
    transactions.declare(importer)

    @importer.applies("notes", row=dict, delivery="transaction", batch=50)
    async def apply(changes: dict[object, str], batch: Batch[dict[str, object]], ctx: Import) -> None:
        assert not changes.get("is_broken"), "the app takes nothing more in this transaction"
        sizes.append(len(batch.records))
        await ctx.ids.put("people", 0, "Ada")
        for one in batch.upserts:
            if one.row["id"] in refused:
                changes["is_broken"] = "yes"
                raise Refused("no")
            changes[one.key] = await ctx.ids.need("people", 0 if int(str(one.key)) < 201 else one.row["person"])

    there = ImporterDestination("counted:x", importer, None)
    movement = await move(str(tmp_path / "app.db"), there, tmp_path)
    assert (movement.totals.upserts, movement.totals.rejected) == (298, 102)
    assert sum(map(len, transactions.committed)) == 298
    assert transactions.begun < 20, "one for each record that waits would be 99 more"
    assert sizes.count(50) >= 3, "batches of which none is rejected stay whole"


async def test_what_a_record_that_waits_has_left_is_no_reason_to_reject_another(tmp_path: Path) -> None:
    with apsw.Connection(str(tmp_path / "app.db")) as app:
        app.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, person INTEGER)")
        app.execute("INSERT INTO notes VALUES (1, 0), (2, 1), (3, 0), (4, 1), (5, 0)")
    app.close()
    importer, transactions = Importer("numbered"), Transactions()
    transactions.declare(importer)

    @importer.applies("notes", row=dict, delivery="transaction", batch=1)
    async def apply(changes: dict[object, str], batch: Batch[dict[str, object]], ctx: Import) -> None:
        await ctx.ids.put("people", 0, "Ada")
        for one in batch.upserts:
            if "draft" in changes:
                raise Refused("there is a draft already")
            changes["draft"] = ""
            changes[one.key] = await ctx.ids.need("people", one.row["person"])
            del changes["draft"]

    there = ImporterDestination("numbered:x", importer, None)
    movement = await move(str(tmp_path / "app.db"), there, tmp_path)
    assert [*transactions.committed[0]] == [1, 3, 5]
    assert movement.totals.rejected == 2
