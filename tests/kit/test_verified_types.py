"""Where the source has text, a value that an app's dump gives is compared as the field of the handler reads it."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from tests.cli.app import CommandLine
from tests.kit.plugins import write_plugin

CODE = """
from datetime import date, datetime, time, timedelta, timezone
from uuid import UUID

@dataclass
class Thing:
    id: int
    at: datetime
    local: NaiveDatetime
    day: date
    hour: time
    uuid: UUID
    tags: list[int]
    code: str

importer = Importer("things")
HELD: dict[object, object] = {}

@importer.applies("things", row=Thing)
async def apply(target: None, batch: Batch[Thing], ctx: Import) -> None: ...

@importer.dump
async def dump(target: None) -> AsyncIterator[tuple[str, Key, dict[str, object]]]:
    row = {"id": 1, "at": datetime(2025, 12, 31, 22, tzinfo=timezone.utc), "local": datetime(2026, 1, 1, 5),
        "day": date(2026, 1, 2), "hour": time(7, 30), "uuid": UUID(int=10), "tags": [1, 2], "code": "2026-01-01"}
    yield "things", 1, row | GIVEN
"""
MIDNIGHT = "2026-01-01T00:00:00+02:00"


@pytest.mark.parametrize(
    ("given", "differs"),
    [
        ("{}", ""),
        ('{"at": "2026-01-01 01:00:00+03:00", "tags": "[1,2]", "uuid": str(row["uuid"]).upper()}', ""),
        ('{"at": datetime(2026, 1, 1, tzinfo=timezone.utc)}', "at"),
        ('{"local": datetime(2026, 1, 1, 6)}', "local"),
        ('{"day": date(2026, 1, 1)}', "day"),
        ('{"hour": time(7, 31)}', "hour"),
        ('{"uuid": UUID(int=11)}', "uuid"),
        ('{"tags": [2, 1]}', "tags"),
        ('{"code": "2026-01-01T00:00:00"}', "code"),  # it is no time, though it looks like one
    ],
)
def test_a_text_of_the_source_is_what_the_field_says(
    given: str, differs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run = CommandLine(tmp_path, capsys)
    with apsw.Connection("app.db") as app:
        app.execute(
            "CREATE TABLE things (id INTEGER PRIMARY KEY,"
            " at TEXT, local TEXT, day TEXT, hour TEXT, uuid TEXT, tags TEXT, code TEXT)"
        )
        values = (MIDNIGHT, "2026-01-01 05:00", "20260102", "07:30", "{0000000000000000000000000000000A}", "[1, 2]")
        app.execute("INSERT INTO things VALUES (1, ?, ?, ?, ?, ?, ?, '2026-01-01')", values)
    app.close()
    write_plugin(Path("app.py"), CODE.replace("GIVEN", given))
    moved = run("move", "app.db", "./app.py:importer", "--flow", "crm")
    assert moved.code == 0, moved.out
    found = run("verify", "crm")
    assert (found.code, "EQUAL: " in found.out) == ((1, False) if differs else (0, True)), found.out
    assert not differs or f"different  {differs}\n" in found.out
