"""Values that arrive as what they are, whichever way they take, and that `verify` takes for what they are."""

from __future__ import annotations

import json
import sys
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from pipeline.kit.reading.text_forms import decimal_key
from tests.cli.app import CommandLine
from tests.kit.plugins import write_plugin

CODE = """
import enum
import pydantic
from decimal import Decimal

class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"

@dataclass
class Row:
    id: int
    document: Json
    numbers: list[int]

@dataclass
class Price:
    amount: Decimal
    note: str

@dataclass
class Paint:
    colour: Colour
    part: int

class Person(pydantic.BaseModel):
    id: int
    name: str = pydantic.Field(alias="Name")

STATE = json.loads(Path("state.json").read_text())
exporter = Exporter("app")

@exporter.rows("rows", row=Row, key="id")
async def rows(client: None) -> AsyncIterator[Row]:
    for number, document in enumerate(STATE["documents"]):
        yield Row(number, document, [1, 2])

@exporter.rows("prices", row=Price, key="amount")
async def prices(client: None) -> AsyncIterator[Price]:
    for text, note in STATE["prices"]:
        yield Price(Decimal(text), note)

@exporter.rows("paints", row=Paint, key=("colour", "part"))
async def paints(client: None) -> AsyncIterator[Paint]:
    for part, colour in enumerate(Colour):
        yield Paint(colour, part)

@exporter.rows("people", row=Person, key="id")
async def people(client: None) -> AsyncIterator[Person]:
    yield Person(id=1, Name="Ada")

importer = Importer("app")
HELD = {}

@importer.connect
async def connect() -> AsyncIterator[dict]:
    yield HELD

async def apply(target: dict, batch: Batch, ctx: Import) -> None:
    for record in batch.records:
        if isinstance(record, Upsert):
            target[ctx.stream, record.key] = vars(record.row)
        else:
            del target[ctx.stream, record.key]

for stream, kind in (("rows", Row), ("prices", Price), ("paints", Paint), ("people", Person)):
    importer.applies(stream, row=kind)(apply)

@importer.dump
async def dump(target: dict) -> AsyncIterator[tuple[str, Key, dict[str, object]]]:
    for (stream, key), row in target.items():
        yield stream, key, row
"""
DOCUMENTS = [{"x": 1}, [1, "a", None], "text", "null", "7", 7, True, None]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    monkeypatch.chdir(tmp_path)
    return CommandLine(tmp_path, capsys)


def write_state(prices: dict[str, str]) -> None:
    Path("state.json").write_text(json.dumps({"documents": DOCUMENTS, "prices": list(prices.items())}))
    for name in [name for name in sys.modules if name.startswith("pipeline_plugin_")]:
        state = json.loads(Path("state.json").read_text())
        getattr(sys.modules[name], "STATE", {}).update(state)


def held(stream: str) -> dict[Any, dict[str, Any]]:
    """Return what the app holds of a stream."""
    module = next(
        one for name, one in sys.modules.items() if name.startswith("pipeline_plugin_") and getattr(one, "HELD", None)
    )
    return {key: row for (name, key), row in module.HELD.items() if name == stream}


@pytest.mark.parametrize("way", [(), ("copy.db",)], ids=["directly", "through SQLite"])
def test_values_arrive_as_what_they_are(way: tuple[str, ...], run: CommandLine) -> None:
    for name in [name for name in sys.modules if name.startswith("pipeline_plugin_")]:
        del sys.modules[name]
    write_state({"2.5": "a", "1000": "b", "5": "c", "0.00": "d"})
    write_plugin(Path("app.py"), CODE)
    places = ["./app.py:exporter", *way, "./app.py:importer"]

    def move() -> None:
        for number, (source, destination) in enumerate(pairwise(places)):
            moved = run("move", source, destination, "--flow", f"flow{number}")
            assert moved.code == 0, moved.out + moved.err
            verified = run("verify", f"flow{number}")
            assert verified.code == 0, verified.out

    move()
    assert [row["document"] for _, row in sorted(held("rows").items())] == DOCUMENTS
    assert {row["name"] for row in held("people").values()} == {"Ada"}
    assert len(held("paints")) == 2
    write_state({"2.50": "changed", "1E+3": "b", "5.0": "c", "0": "d", "7": "new"})
    move()
    assert {str(key): row["note"] for key, row in held("prices").items()} == {
        "2.5": "changed", "1000": "b", "5": "c", "0": "d", "7": "new",
    }  # fmt: skip


def test_a_decimal_key_is_named_by_a_feed_in_any_form() -> None:
    for text, key in (("2.50", "2.5"), ("1E+3", "1000"), ("-0.0", "0"), ("1E-30", "0." + "0" * 29 + "1"), ("12", "12")):
        assert decimal_key(Decimal(text)) == key
    assert decimal_key(Decimal("1." + "1" * 40 + "0")) == "1." + "1" * 40
