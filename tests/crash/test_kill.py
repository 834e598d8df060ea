"""The real process, killed with SIGKILL at random moments: the same command carries on, and nothing is lost or done twice."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import pytest

from tests.kit.killing import Killer

KILLS = int(os.environ.get("KILL_TEST_KILLS", "50"))
WORDS = ("alpha", "beta", "", "Ω", "it's", "nul\0", "🦔")


@dataclass
class App:
    """A database and attachments that change, and the command that moves them."""

    root: Path
    dice: random.Random
    stored: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def database(self) -> Path:
        return self.root / "app.db"

    @property
    def files(self) -> Path:
        return self.root / "attachments"

    def build(self) -> None:
        self.files.mkdir()
        with sqlite3.connect(self.database) as db:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("CREATE TABLE author(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)")
            db.execute(
                'CREATE TABLE "order details"(a TEXT NOT NULL, b INT NOT NULL, v, PRIMARY KEY(a, b)) WITHOUT ROWID'
            )
            db.execute("CREATE TABLE note(author REFERENCES author(id), body)")
            db.execute("CREATE INDEX note_author ON note(author)")
        self.change(2000)
        db.close()

    def change(self, rows: int) -> None:
        with sqlite3.connect(self.database) as db:
            for _ in range(rows):
                self._change_row(db)
        db.close()
        for _ in range(5):
            number = self.dice.randrange(30)
            path = self.files / f"file {number}"
            if path.exists() and self.dice.random() < 0.3:
                path.unlink()
            else:
                path.write_bytes(self.dice.randbytes(self.dice.choice([0, 10, 70_000])))

    def _change_row(self, db: sqlite3.Connection) -> None:
        dice, number = self.dice, self.dice.randrange(5000)
        match dice.randrange(6):
            case 0:
                db.execute("INSERT OR REPLACE INTO author VALUES(?, ?)", (number, f"{dice.choice(WORDS)} {number}"))
            case 1:
                db.execute("DELETE FROM author WHERE id = ?", (number,))
            case 2:
                key = (dice.choice(WORDS), number % 500)
                value = dice.choice([None, 1, 1.5, -0.0, float("inf"), "x", b"\0\xff", 2**63 - 1])
                db.execute('INSERT OR REPLACE INTO "order details" VALUES(?, ?, ?)', (*key, value))
            case 3:
                db.execute('DELETE FROM "order details" WHERE b = ?', (number % 500,))
            case _:
                db.execute("INSERT INTO note VALUES(?, ?)", (None, dice.choice(WORDS) * dice.randrange(20)))

    def start(self) -> subprocess.Popen[bytes]:
        """Start the command. Kills add up changes, so that more of a table may be gone than is deleted without a word."""
        command = [
            sys.executable,
            "-m",
            "pipeline",
            "move",
            "app.db",
            "copy.db",
            "--files",
            "attachments",
            "copied",
            "--json",
            "--allow-deletes",
            "order details",
        ]
        small = {
            "PIPELINE_EVENT_FILE_ROWS": "300",
            "PIPELINE_QUEUE_VISIBILITY_SECONDS": "1",
            "PIPELINE_SWEEP_SECONDS": "0.2",
        }
        environment = {**os.environ, **small}
        return subprocess.Popen(command, cwd=self.root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def check_equal(self) -> None:
        assert dump(self.database) == dump(self.root / "copy.db")
        assert contents(self.files) == contents(self.root / "copied")

    def check_stored_once(self) -> None:
        """Event Files that were stored are never written again."""
        for path in (self.root / ".pipeline" / "store").rglob("*"):
            if "/events/" in str(path) and path.is_file():
                status = path.stat()
                seen = (status.st_ino, status.st_mtime_ns)
                assert self.stored.setdefault(str(path), seen) == seen, path


def dump(database: Path) -> dict[str, list[tuple[object, ...]]]:
    """The declaration of every table, and its rows with their types, sorted."""
    db = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    tables = db.execute(
        "SELECT name, sql FROM sqlite_master WHERE name NOT LIKE '%\\_pipeline%' ESCAPE '\\'"
    ).fetchall()
    found: dict[str, list[tuple[object, ...]]] = {"declared": sorted(tables, key=repr)}
    for name, _ in tables:
        if name in ("author", "order details", "note"):
            columns = [column[1] for column in db.execute(f'PRAGMA table_info("{name}")')]
            values = ", ".join(f'typeof("{c}"), hex("{c}"), quote("{c}")' for c in columns)
            found[name] = sorted(db.execute(f'SELECT {values} FROM "{name}"').fetchall())
    db.close()
    return found


def contents(directory: Path) -> dict[str, bytes]:
    """The bytes of every file by its path, without the destination's own files."""
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file() and ".pipeline" not in str(path.relative_to(directory))
    }


def wait(process: subprocess.Popen[bytes]) -> dict[str, object]:
    """Wait for the end of a run that must succeed; return its last JSON object."""
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, (out[-2000:], err[-4000:])
    last = orjson.loads(out.splitlines()[-1])
    assert isinstance(last, dict)
    assert last["status"] == "SUCCESS"
    return last


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_again_and_again_the_destination_equals_the_source_in_the_end(tmp_path: Path) -> None:
    dice = random.Random(seed := random.randrange(10**9))
    print(f"seed {seed}")
    app = App(tmp_path, dice)
    app.build()
    kills, killer = 0, Killer(dice, measure(app))
    while kills < KILLS:
        with app.start() as process:
            kills += killer.kill(process)
            process.communicate()
        app.check_stored_once()
        change_or_finish(app, dice)
    wait(app.start())
    app.check_equal()
    app.check_stored_once()


def change_or_finish(app: App, dice: random.Random) -> None:
    """Sometimes the source changes between a kill and the next run; sometimes a run may end."""
    match dice.randrange(6):
        case 0 | 1:
            app.change(200)
        case 2:
            wait(app.start())
            app.check_equal()


def measure(app: App) -> float:
    """Move once, undisturbed; return how long that takes, the start of the interpreter included."""
    begun = time.monotonic()
    wait(app.start())
    seconds = time.monotonic() - begun
    app.check_equal()
    app.change(1500)
    return seconds
