"""A folder of CSV files is moved into a database and into another folder, and so is what changes."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

import pipeline
from tests.examples.moving import EXAMPLES, move, rows

EXAMPLE = EXAMPLES / "csv_folder" / "csv_folder.py"
CUSTOMERS = "id,name,since\n7,Grace,\n2,Ada,2026-02-28\n10,,2020-01-01\n"
ORDERS = "customer_id,number,total\n2,10,9.90\n2,9,1E+3\n7,1,0.00\n"


def lines(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / name).open(newline="") as file:
        return sorted(csv.DictReader(file), key=lambda cells: list(cells.values()))


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "customers.csv").write_text(CUSTOMERS)
    (folder / "orders.csv").write_text(ORDERS)
    return folder


def change(shop: Path) -> None:
    """Change a customer, and take one away and its order; add one with a name that needs quotes."""
    (shop / "customers.csv").write_text('id,name,since\n2,Ada,\n10,,2020-01-01\n11,"a ""b"",\nc",\n')
    (shop / "orders.csv").write_text("customer_id,number,total\n2,10,9.90\n2,9,1E+3\n")


async def test_a_folder_is_moved_into_a_database(shop: Path, tmp_path: Path) -> None:
    copy, home = tmp_path / "copy.db", tmp_path / "home"
    await move(f"{EXAMPLE}:exporter", copy, home, source_settings={"folder": str(shop)})
    assert rows(copy, "SELECT * FROM customers ORDER BY 1") == [
        (2, "Ada", "2026-02-28"),
        (7, "Grace", None),
        (10, "", "2020-01-01"),
    ]
    assert rows(copy, "SELECT customer_id, number, total FROM orders ORDER BY 1, 2") == [
        (2, 9, "1E+3"),
        (2, 10, "9.90"),
        (7, 1, "0.00"),
    ]
    change(shop)
    moved = await move(f"{EXAMPLE}:exporter", copy, home, source_settings={"folder": str(shop)})
    assert (moved.totals.upserts, moved.totals.deletes) == (2, 2)
    assert rows(copy, "SELECT * FROM customers ORDER BY 1") == [
        (2, "Ada", None),
        (10, "", "2020-01-01"),
        (11, 'a "b",\nc', None),
    ]
    assert len(rows(copy, "SELECT * FROM orders")) == 2


async def test_a_folder_is_moved_into_another(shop: Path, tmp_path: Path) -> None:
    copy, home = tmp_path / "copy", tmp_path / "home"
    copy.mkdir()
    places = f"{EXAMPLE}:exporter", f"{EXAMPLE}:importer"
    settings = {"source_settings": {"folder": str(shop)}, "destination_settings": {"folder": str(copy)}}
    await move(*places, home, **settings)
    for name in ("customers.csv", "orders.csv"):
        assert lines(copy, name) == lines(shop, name)
    change(shop)
    await move(*places, home, **settings)
    for name in ("customers.csv", "orders.csv"):
        assert lines(copy, name) == lines(shop, name)
    moved = await move(*places, home, **settings)
    assert (moved.totals.upserts, moved.totals.deletes) == (0, 0)


async def test_a_file_that_is_missing_deletes_nothing(shop: Path, tmp_path: Path) -> None:
    copy, settings = tmp_path / "copy.db", {"folder": str(shop)}
    await move(f"{EXAMPLE}:exporter", copy, tmp_path / "home", source_settings=settings)
    (shop / "orders.csv").unlink()
    home = pipeline.Settings(home=tmp_path / "home")
    moved = await pipeline.move(f"{EXAMPLE}:exporter", str(copy), settings=home, source_settings=settings)
    assert moved.status is pipeline.Status.INCOMPLETE
    assert "orders.csv" in moved.problems[0]
    assert len(rows(copy, "SELECT * FROM orders")) == 3
