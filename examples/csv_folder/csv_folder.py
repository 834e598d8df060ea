"""A folder of CSV files, both sides: `customers.csv` and `orders.csv`, whose first lines name the columns.

    pipeline move ./csv_folder.py:exporter shop.db --source-set folder=shop
    pipeline move shop.db ./csv_folder.py:importer --destination-set folder=copy

The Exporter gives lines in whatever order they have (`rows`). A missing file is an error: an empty list would delete every row.
The Importer writes a whole file for each batch and puts it in the place of the old one, so that applying a batch again is
harmless (`keyed`). A cell without text is None, or an empty name.
"""

from __future__ import annotations

import csv
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from decimal import Decimal
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from anyio import to_thread

from pipeline.kit import Batch, Exporter, Import, Importer, Key, Stop, Upsert

LINES = 10_000
Cells = dict[str, str]
csv.field_size_limit(2**31 - 1)


@dataclass
class Settings:
    folder: Path


@dataclass
class Customer:
    id: int
    name: str
    since: date | None


@dataclass
class Order:
    customer_id: int
    number: int
    total: Decimal


exporter = Exporter("csv-folder", contract="shop/1")
importer = Importer("csv-folder", accepts="shop/1")


@exporter.connect
@importer.connect
async def connect(settings: Settings) -> AsyncIterator[Path]:
    if not settings.folder.is_dir():
        raise Stop(f"There is no folder {settings.folder}")
    yield settings.folder


@exporter.rows("customers", row=Customer, key="id")
async def customers(folder: Path) -> AsyncIterator[Customer]:
    async for cells in lines(folder / "customers.csv"):
        yield customer(cells)


@exporter.rows("orders", row=Order, key=("customer_id", "number"))
async def orders(folder: Path) -> AsyncIterator[Order]:
    async for cells in lines(folder / "orders.csv"):
        yield order(cells)


@importer.applies("customers", row=Customer, batch=LINES)
async def apply_customers(folder: Path, batch: Batch[Customer], ctx: Import) -> None:
    await to_thread.run_sync(merge, folder / "customers.csv", ["id", "name", "since"], 1, batch)


@importer.applies("orders", row=Order, batch=LINES)
async def apply_orders(folder: Path, batch: Batch[Order], ctx: Import) -> None:
    await to_thread.run_sync(merge, folder / "orders.csv", ["customer_id", "number", "total"], 2, batch)


@importer.dump
async def dump(folder: Path) -> AsyncIterator[tuple[str, Key, Mapping[str, object]]]:
    for cells in read(folder / "customers.csv"):
        yield "customers", int(cells["id"]), asdict(customer(cells))
    for cells in read(folder / "orders.csv"):
        yield "orders", (int(cells["customer_id"]), int(cells["number"])), asdict(order(cells))


@importer.scratch
async def scratch() -> AsyncIterator[Path]:
    with TemporaryDirectory() as folder:
        yield Path(folder)


def customer(cells: Cells) -> Customer:
    since = date.fromisoformat(cells["since"]) if cells["since"] else None
    return Customer(int(cells["id"]), cells["name"], since)


def order(cells: Cells) -> Order:
    return Order(int(cells["customer_id"]), int(cells["number"]), Decimal(cells["total"]))


async def lines(path: Path) -> AsyncIterator[Cells]:
    """Yield the lines of a file. It is read in a thread, so that others go on meanwhile."""
    with path.open(newline="", encoding="utf-8", errors="surrogatepass") as file:
        reader = csv.DictReader(file)
        while some := await to_thread.run_sync(lambda: list(islice(reader, LINES))):
            for cells in some:
                yield cells


def read(path: Path) -> Iterator[Cells]:
    """Yield the lines of a file that may not exist yet."""
    if path.exists():
        with path.open(newline="", encoding="utf-8", errors="surrogatepass") as file:
            yield from csv.DictReader(file)


def merge(path: Path, names: Sequence[str], key_cells: int, batch: Batch[Any]) -> None:
    """Write a file with the records of a batch, in place of the old one. The first `key_cells` names are those of the key."""
    by_key = {tuple(cells[name] for name in names[:key_cells]): cells for cells in read(path)}
    for record in batch.records:
        parts = record.key if isinstance(record.key, tuple) else (record.key,)
        key = tuple(map(str, parts))
        if isinstance(record, Upsert):
            by_key[key] = {name: "" if value is None else str(value) for name, value in asdict(record.row).items()}
        else:
            by_key.pop(key, None)
    new = path.with_suffix(".new")
    with new.open("w", newline="", encoding="utf-8", errors="surrogatepass") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(by_key.values())
    new.replace(path)  # so that nobody sees half a file
