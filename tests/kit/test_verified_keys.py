"""A key that an app's dump gives as a value, or as a text of it, is found at the source, whatever the type of the key."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

import pipeline
from pipeline.domain.schema import Column
from pipeline.kit.dump.natural import key_value
from tests.kit.plugins import write_plugin

CODE = """
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from uuid import UUID

exporter, importer = Exporter("here"), Importer("there")

@exporter.rows("things", row=dict, columns={{"id": {type_}, "name": str}}, key="id")
async def things(client: None) -> AsyncIterator[dict[str, object]]:
    yield {{"id": {key}, "name": "one"}}

@importer.applies("things", row=dict)
async def apply(target: None, batch: Batch[dict[str, object]], ctx: Import) -> None: ...

@importer.dump
async def dump(target: None) -> AsyncIterator[tuple[str, Key, dict[str, object]]]:
    form = eval(Path(__file__).with_name("form").read_text())
    yield "things", form, {{"id": form, "name": "one"}}
"""
KEYS = [
    ("Decimal", "Decimal('1.50')", ["Decimal('1.500')", "'1.5'", "1.5"]),
    ("Decimal", "Decimal('1E+3')", ["Decimal('1000.0')", "1000"]),
    (
        "datetime",
        "datetime(2026, 1, 2, 3, 4, 5, 500_000, UTC)",
        ["datetime(2026, 1, 2, 5, 4, 5, 500_000, timezone(timedelta(hours=2)))"],
    ),
    ("NaiveDatetime", "datetime(2026, 1, 2, 3)", ["datetime(2026, 1, 2, 3)", "'2026-01-02T03:00:00'"]),
    ("date", "date(2026, 1, 2)", ["date(2026, 1, 2)", "'2026-01-02'"]),
    ("time", "time(7, 30, 0, 500_000)", ["time(7, 30, 0, 500_000)", "'07:30:00.500000'"]),
    ("UUID", "UUID(int=10)", ["UUID(int=10)", "str(UUID(int=10)).upper()"]),
    ("bytes", "b'a'", ["b'a'"]),
    ("bool", "True", ["True", "1"]),
]


@pytest.mark.parametrize(("type_", "key", "forms"), KEYS)
async def test_a_key_is_found_in_each_of_its_forms(type_: str, key: str, forms: list[str], tmp_path: Path) -> None:
    plugin, settings = (
        write_plugin(tmp_path / "app.py", CODE.format(type_=type_, key=key)),
        pipeline.Settings(home=tmp_path / "home"),
    )
    movement = await pipeline.move(f"{plugin}:exporter", f"{plugin}:importer", flow="app", settings=settings)
    assert movement.status is pipeline.Status.SUCCESS
    for form in forms:
        (tmp_path / "form").write_text(form)
        assert (await pipeline.verify("app", settings=settings)).equal, form


@pytest.mark.parametrize(
    ("type_", "native", "given", "key"),
    [
        ("interval", "interval", timedelta(days=1, hours=2), "1 day 02:00:00"),
        ("interval", "interval", str(timedelta(days=1, hours=2)), "1 day 02:00:00"),
        ("interval", "interval", str(timedelta(seconds=-3, microseconds=-1)), "-00:00:03.000001"),
        ("interval", "interval", "1 mon", "1 mon"),
        ("decimal", "numeric(10,2)", Decimal("1.5"), "1.50"),
        ("decimal", "numeric(10,2)", Decimal("1.555"), "1.555"),
        ("decimal", "numeric", str(Decimal("0.0000001")), "0.0000001"),
        ("decimal", "numeric", Decimal("1.50"), "1.50"),
        ("date", "date", "infinity", "infinity"),
    ],
)
def test_a_key_has_the_form_that_a_database_gives_it(type_: str, native: str, given: object, key: object) -> None:
    assert key_value(given, Column("id", type_, native_type=native)) == key
