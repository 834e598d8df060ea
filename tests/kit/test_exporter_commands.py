"""Every command works with a Flow from an app into databases."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import anyio
import pytest

import pipeline as pipeline_api
from tests.cli.app import CommandLine, change, contents
from tests.kit.plugins import write_plugin

APP = """\
from datetime import datetime
from decimal import Decimal

@dataclass
class Settings:
    path: str

@dataclass
class Order:
    region: str
    number: int
    price: Decimal
    placed: datetime
    note: str | None

exporter = Exporter("shop", contract="shop/1")

@exporter.connect
async def connect(settings: Settings) -> AsyncIterator[list[dict[str, object]]]:
    yield json.loads(Path(settings.path).read_text())

@exporter.pages("orders", row=Order, key=("region", "number"), order="stable", group="sales")
async def orders(client: list[dict[str, object]], after: str | None) -> Page[Order]:
    at = int(after or 0)
    page = [Order(row["region"], row["number"], Decimal(row["price"]), datetime.fromisoformat(row["placed"]), row["note"])
            for row in client[at:at + 10]]
    return Page(page, next=str(at + 10) if at + 10 < len(client) else None, total=len(client))

@exporter.estimate("orders")
async def estimate(client: list[dict[str, object]]) -> int:
    return len(client)
"""
Rows = list[dict[str, object]]


def orders(count: int = 35) -> Rows:
    return [
        {
            "region": "north" if number % 2 else "süd",
            "number": number,
            "price": f"{number}.50",
            "placed": f"2026-01-02T03:04:{number:02d}+02:00",
            "note": None if number % 3 else "note",
        }
        for number in range(count)
    ]


@pytest.fixture
def pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """Runs `pipeline` in a directory with an app that has 35 orders."""
    monkeypatch.chdir(tmp_path)
    write_plugin(tmp_path / "app.py", APP)
    write(tmp_path, orders())
    return CommandLine(tmp_path, capsys)


def write(directory: Path, rows: Rows) -> None:
    (directory / "rows.json").write_text(json.dumps(rows))


def wanted(rows: Rows) -> list[tuple[object, ...]]:
    return sorted((row["region"], row["number"], row["note"]) for row in rows)


def stored(path: Path) -> list[tuple[object, ...]]:
    return sorted((row[0], row[1], row[4]) for row in contents(path, "orders"))


async def work(flow: str, number: int, settings: pipeline_api.Settings) -> None:
    """Run workers until a Movement has settled with SUCCESS."""
    stop = anyio.Event()
    async with anyio.create_task_group() as group:
        for _ in range(2):
            group.start_soon(lambda: pipeline_api.run_worker(stop=stop, settings=settings))
        with anyio.fail_after(60):
            settled = await pipeline_api.wait_settled(flow, number, settings=settings)
        stop.set()
    assert settled.status is pipeline_api.Status.SUCCESS, settled.problems


def test_every_command_works_with_a_flow_from_an_app(pipeline: CommandLine, tmp_path: Path) -> None:
    settings = pipeline_api.Settings(home=tmp_path / ".pipeline")
    rows = orders()
    source = ("--source-set", f"path={tmp_path}/rows.json")
    assert pipeline("flow", "create", "shop", "./app.py:exporter", "copy.db", *source).code == 0
    others = [*rows[:20], {**rows[20], "note": "changed"}, *rows[25:], *orders(40)[35:]]
    for number, changed in enumerate((rows, others), 1):
        write(tmp_path, changed)
        assert pipeline("start", "shop").code == 0
        anyio.run(work, "shop", number, settings)
        assert stored(tmp_path / "copy.db") == wanted(changed)
    with closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
        columns = {name: (type_, key) for _, name, type_, _, _, key in copy.execute("PRAGMA table_info(orders)")}
    assert {name: key for name, (_, key) in columns.items()} == {
        "region": 1,
        "number": 2,
        "price": 0,
        "placed": 0,
        "note": 0,
    }
    assert columns["number"][0] == "INTEGER"
    status = pipeline("status", "--flow", "shop")
    assert (status.code, "SUCCESS" in status.out) == (0, True), status.out
    files = pipeline("files", "shop", "--json").objects
    ids = [str(file["file"]) for file in files if "file" in file] or [str(file.get("id", "")) for file in files]
    assert any("incremental" in one for one in ids), files
    shown = pipeline("show", next(one for one in ids if "incremental" in one))
    assert (shown.code, "changed" in shown.out) == (0, True)
    assert pipeline("verify", "shop").code == 0
    change(tmp_path / "copy.db", "UPDATE orders SET note = 'another' WHERE number = 3")
    assert pipeline("verify", "shop").code == 1
    assert pipeline("verify", "shop", "--repair").code in (0, 1)
    assert pipeline("verify", "shop").code == 0
    assert pipeline("compact", "shop").code == 0
    assert pipeline("prune", "shop", "--yes").code == 0
    forecast = pipeline("move", "./app.py:exporter", "copy.db", *source, "--flow", "shop", "--dry-run")
    assert forecast.code == 0, forecast.err
    assert pipeline("flow", "add-destination", "shop", "further.db", "--name", "more").code == 0
    assert pipeline("flow", "import", "more").code == 0
    assert stored(tmp_path / "further.db") == stored(tmp_path / "copy.db")


def test_choices_of_a_movement_hold_for_a_flow_from_an_app(pipeline: CommandLine, tmp_path: Path) -> None:
    move = ("move", "./app.py:exporter", "copy.db", "--source-set", "path=rows.json", "--flow", "shop")
    refused = pipeline(*move, "--only", "no_such_stream")
    assert refused.code == 2
    assert "It has: 'orders'" in refused.err
    assert pipeline(*move).code == 0
    write(tmp_path, [])
    held = pipeline(*move)
    assert held.code == 1
    assert "orders: 35 of 35 records of the destination are not at the source" in held.out
    assert len(stored(tmp_path / "copy.db")) == 35
    assert pipeline(*move, "--allow-deletes", "orders").code == 0
    assert stored(tmp_path / "copy.db") == []
    assert pipeline("rebuild", "shop").code == 0
    write(tmp_path, orders(3))
    moved = pipeline(*move, "--json")
    assert (moved.code, moved.objects[-1]["records"]) == (0, {"upserts": 3, "deletes": 0, "quarantined": 0})
    assert stored(tmp_path / "copy.db") == wanted(orders(3))
