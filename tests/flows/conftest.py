"""The command line in a directory that has two apps: a database, and a plug-in."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.cli.app import CommandLine
from tests.kit.plugins import write_plugin

PLUGINS = """\
@dataclass
class Settings:
    path: str
    token: Secret = Secret()

@dataclass
class Person:
    id: int
    name: str

@dataclass
class Pet:
    id: int
    owner: int

exporter = Exporter("people", contract="people/1")
importer = Importer("store", accepts="people/1")

@exporter.connect
async def connect(settings: Settings) -> AsyncIterator[Path]:
    Path("tokens").write_text(settings.token.reveal())
    yield Path(settings.path)

@exporter.rows("people", row=Person, key="id", scopes=("pii",))
async def people(client: Path) -> AsyncIterator[Person]:
    for row in json.loads(client.read_text()):
        yield Person(row["id"], row["name"])

@exporter.rows("pets", row=Pet, key="id")
async def pets(client: Path) -> AsyncIterator[Pet]:
    for row in json.loads(client.read_text()):
        yield Pet(row["id"], row["id"])

importer.connect(connect)

@importer.applies("people", row=Person)
async def apply(target: Path, batch: Batch[Person], ctx: Import) -> None:
    rows = json.loads(target.read_text())
    rows |= {str(record.key): record.row.name for record in batch.records if isinstance(record, Upsert)}
    target.write_text(json.dumps(rows))
"""


@pytest.fixture
def pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """Runs `pipeline` in a directory with `app.db` (artists, albums, a log), and plug-ins in `app/app.py`."""
    monkeypatch.chdir(tmp_path)
    make_app(tmp_path / "app.db")
    (tmp_path / "app").mkdir()
    write_plugin(tmp_path / "app" / "app.py", PLUGINS)
    (tmp_path / "people.json").write_text('[{"id": 1, "name": "Ada"}, {"id": 2, "name": "Grace"}]')
    (tmp_path / "store.json").write_text("{}")
    return CommandLine(tmp_path, capsys)


def make_app(path: Path) -> None:
    """Make a database of which one table refers to another."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(
            "CREATE TABLE artist (id INTEGER PRIMARY KEY, name TEXT);"
            "CREATE TABLE album (id INTEGER PRIMARY KEY, artist INTEGER REFERENCES artist (id), title TEXT);"
            "CREATE TABLE log_2025 (id INTEGER PRIMARY KEY, line TEXT);"
            "INSERT INTO artist VALUES (1, 'AC/DC'), (2, 'Accept');"
            "INSERT INTO album VALUES (1, 1, 'For Those About To Rock'), (2, 2, 'Balls to the Wall');"
            "INSERT INTO log_2025 VALUES (1, 'started');"
        )
