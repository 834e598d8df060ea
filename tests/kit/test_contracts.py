"""Exporters keep the contract of a Source, and Importers that of a Destination."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

import orjson
import pytest

from pipeline.domain.errors import ConfigurationError
from pipeline.domain.ids import FlowName, Label, StreamName
from pipeline.domain.schema import Column, StreamSchema
from pipeline.kit import Batch, Delete, Exporter, Import, Importer, Page, Refused, StagedFile, Upsert
from pipeline.kit.loading.destination import ImporterDestination
from pipeline.kit.reading.source import ExporterSource
from pipeline.ports.destination import DestinationSession
from pipeline.testing.simulated.object_store import MemoryObjectStore
from tests.contracts.destination import DestinationContract, DestinationWorld
from tests.contracts.source import SourceContract, SourceWorld

SCHEMA = StreamSchema(
    StreamName("a"), Label("a"), (Column("number", "integer", nullable=False), Column("text", "text")), ("number",)
)
COLUMNS = {"number": int, "text": str}
Rows = dict[int, str]


def unreachable(location: str) -> Callable[[], AsyncIterator[None]]:
    """Return a `connect` that fails."""

    async def connect() -> AsyncIterator[None]:
        if location:
            raise ConfigurationError(f"There is no app at {location}.")
        yield

    return connect


def reading(rows: Rows, how: str) -> Exporter:
    """Return an Exporter of the stream `a`, which gives the rows as `how` says, and of the empty stream `b`."""
    exporter = Exporter("app")

    def row(number: int) -> dict[str, object]:
        return {"number": number, "text": rows[number]}

    async def ordered(client: None) -> AsyncIterator[dict[str, object]]:
        for number in sorted(rows):
            yield row(number)

    async def unordered(client: None) -> AsyncIterator[dict[str, object]]:
        for number in sorted(rows, key=lambda number: -number):
            yield row(number)

    async def pages(client: None, after: str | None) -> Page[dict[str, object]]:
        numbers, start = sorted(rows, key=lambda number: -number), int(after or 0)
        following = str(start + 2) if start + 2 < len(numbers) else None
        return Page([row(number) for number in numbers[start : start + 2]], next=following)

    async def nothing(client: None) -> AsyncIterator[dict[str, object]]:
        for number in sorted(rows)[:0]:
            yield row(number)

    if how == "pages":
        exporter.pages("a", row=dict, columns=COLUMNS, key="number")(pages)
    else:
        function = ordered if how == "ordered" else unordered
        exporter.rows("a", row=dict, columns=COLUMNS, key="number", ordered=how == "ordered")(function)
    exporter.rows("b", row=dict, columns=COLUMNS, key="number")(nothing)
    return exporter


@pytest.mark.parametrize("how", ["ordered", "unordered", "pages"])
class TestExporter(SourceContract):
    @pytest.fixture
    def world(self, how: str) -> SourceWorld:
        rows = {number: f"text {number}" for number in range(10)}
        missing = Exporter("app")
        missing.connect(unreachable("app:nowhere"))
        missing.streams.update(reading(rows, how).streams)

        def change() -> None:
            rows[3] = "changed"

        return SourceWorld(
            source=ExporterSource("app:here", reading(rows, how), None),
            again=ExporterSource("app:here", reading(rows, how), None),
            missing=ExporterSource("app:nowhere", missing, None),
            change_one_row=change,
            is_isolated=False,
        )


class Unreachable:
    """An app that is not there. Its marks are not, either: they are in the store of the pipeline."""

    location = "app:nowhere"

    def open(self, flow: FlowName) -> AbstractAsyncContextManager[DestinationSession]:
        importer = Importer("app")
        importer.connect(unreachable(self.location))
        return ImporterDestination(self.location, importer, None, MemoryObjectStore()).open(flow)


@dataclass
class Changed:
    """A transaction: the rows and marks as they are to become. After a record that is refused it can only roll back."""

    rows: Rows
    marks: dict[str, bytes]
    broken: bool = False


def add_transactions(importer: Importer, rows: Rows, accepted: set[str]) -> None:
    """Let an Importer keep rows and marks in transactions."""
    marks: dict[str, bytes] = {}

    @importer.transaction
    async def transaction(target: None) -> AsyncIterator[Changed]:
        changed = Changed(dict(rows), dict(marks))
        yield changed
        assert not changed.broken
        rows.clear()
        rows.update(changed.rows)
        marks.update(changed.marks)

    @transaction.read_marks
    async def read_marks(tx: Changed) -> Mapping[str, bytes]:
        return tx.marks

    @transaction.write_mark
    async def write_mark(tx: Changed, file: str, mark: bytes) -> None:
        tx.marks[file] = mark

    @importer.applies("a", row=dict, delivery="transaction", batch=2)
    async def apply(tx: Changed, batch: Batch[dict[str, object]], ctx: Import) -> None:
        for record in batch.records:
            assert not tx.broken
            if isinstance(record, Delete):
                tx.rows.pop(int(str(record.key)), None)
            elif record.row["text"] == "bad" and "bad" not in accepted:
                tx.broken = True
                raise Refused("is bad", column="text")
            else:
                tx.rows[int(str(record.key))] = str(record.row["text"])


def importing(rows: Rows, accepted: set[str], how: str) -> Importer:
    """Return an Importer of the stream `a` that puts into `rows` all but the text "bad", unless `accepted` has it."""
    importer = Importer("app")

    def put(number: int, text: str) -> None:
        if text == "bad" and text not in accepted:
            raise Refused("is bad", column="text")
        rows[number] = text

    async def apply(target: None, batch: Batch[dict[str, object]], ctx: Import) -> None:
        for record in batch.records:
            if isinstance(record, Upsert):
                try:
                    put(int(str(record.key)), str(record.row["text"]))
                except Refused as error:
                    batch.refuse(record, error.reason, error.column)
            else:
                rows.pop(int(str(record.key)), None)

    async def create(target: None, row: dict[str, object], ctx: Import) -> str:
        put(int(str(row["number"])), str(row["text"]))
        return str(row["number"])

    async def update(target: None, id_: str, row: dict[str, object], ctx: Import) -> None:
        put(int(id_), str(row["text"]))

    async def delete(target: None, id_: str, ctx: Import) -> None:
        rows.pop(int(id_), None)

    if how == "applies":
        importer.applies("*", row=dict, batch=2)(apply)
    elif how == "stages":
        staged = dict[str, StagedFile[dict[str, object]]]()

        async def stage(target: None, file: StagedFile[dict[str, object]], ctx: Import) -> str:
            for upsert in file.upserts:
                if upsert.row["text"] == "bad" and "bad" not in accepted:
                    file.refuse(upsert, "is bad", column="text")
            staged[file.id] = file
            return file.id

        async def publish(target: None, tokens: Sequence[str], ctx: Import) -> None:
            for token in tokens:
                for record in staged[token].records:
                    if isinstance(record, Delete):
                        rows.pop(int(str(record.key)), None)
                    elif record.row["text"] != "bad" or "bad" in accepted:
                        put(int(str(record.key)), str(record.row["text"]))

        importer.stages("a", row=dict)(stage).publish(publish)
    elif how == "transaction":
        add_transactions(importer, rows, accepted)
    else:
        creates = importer.creates("a", row=dict)(create)
        creates.update(update)
        creates.delete(delete)
    return importer


@pytest.mark.parametrize("how", ["applies", "creates", "stages", "transaction"])
class TestImporter(DestinationContract):
    @pytest.fixture
    def world(self, how: str) -> DestinationWorld:
        rows: Rows = {}
        accepted: set[str] = set()
        store = MemoryObjectStore()

        def held() -> Mapping[int, int]:
            return {number: 0 if text == "bad" else int(text) for number, text in rows.items()}

        return DestinationWorld(
            destination=ImporterDestination("app:here", importing(rows, accepted, how), None, store),
            impossible=Unreachable(),
            schema=SCHEMA,
            upsert=lambda n, version: orjson.dumps({"upsert": {"number": n, "text": str(version)}}) + b"\n",
            delete=lambda n: orjson.dumps({"delete": {"number": n}}) + b"\n",
            held=held,
            refused=b'{"upsert":{"number":99,"text":"bad"}}\n',
            is_transactional=how == "transaction",
            accept=lambda: accepted.add("bad"),
        )
