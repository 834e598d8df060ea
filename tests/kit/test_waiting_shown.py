"""Records that wait for an id are in the summary of a Movement, in `status`, and in JSON."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.cli.app import CommandLine, change
from tests.kit.plugins import write_plugin

APP = """\
importer = Importer("tree")

@importer.creates("nodes", row=dict)
async def create(target: None, row: dict[str, object], ctx: Import) -> str:
    if row["parent"] == -1:
        if not Path("ready").exists():
            raise Refused("there is no such parent")
        await ctx.ids.put("nodes", 8, "new-8")
    elif row["parent"] is not None:
        await ctx.ids.need("nodes", row["parent"])
    return f"new-{row['id']}"

@create.find
async def find(target: None, row: dict[str, object], ctx: Import) -> str | None:
    return None

@importer.applies("plain", row=dict)
async def apply(target: None, batch: Batch[dict[str, object]], ctx: Import) -> None:
    pass
"""
TITLES = "group +rows read +new files +imported +skipped +upserts +deletes +rejected"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """Runs `pipeline` beside an app with nodes, of which 1, 2 and 3 can be created, 4 and 5 wait, and 6 is refused."""
    monkeypatch.chdir(tmp_path)
    change(tmp_path / "app.db", "CREATE TABLE nodes (id INTEGER PRIMARY KEY, parent INTEGER)")
    change(tmp_path / "app.db", "INSERT INTO nodes VALUES (1, 3), (2, 1), (3, NULL), (4, 8), (5, 4), (6, -1)")
    change(tmp_path / "app.db", "CREATE TABLE plain (id INTEGER PRIMARY KEY)")
    change(tmp_path / "app.db", "INSERT INTO plain VALUES (1)")
    write_plugin(tmp_path / "tree.py", APP)
    return CommandLine(tmp_path, capsys)


def move(run: CommandLine, *options: str) -> str:
    return run("move", "app.db", "./tree.py:importer", "--flow", "tree", *options).out


def row_of(label: str, out: str) -> list[str]:
    (row,) = [line.split() for line in out.splitlines() if line.split()[:1] == [label]]
    return row[1:]


def test_the_summary_counts_what_waits_and_what_was_accepted_at_the_end(run: CommandLine, tmp_path: Path) -> None:
    out = move(run)
    assert re.search(rf"{TITLES} +waiting +failed\n", out), out
    assert row_of("nodes", out) == ["6", "1", "1", "0", "3", "0", "3", "2", "0"]
    assert row_of("plain", out) == ["1", "1", "1", "0", "1", "0", "0", "0", "0"]
    assert "  4 upserts and 0 deletes, 3 rejected, of which 2 wait for the id of another record\n" in out
    out = move(run)  # nothing has changed, and they still wait
    assert row_of("nodes", out) == ["6", "0", "0", "1", "0", "0", "3", "2", "0"]
    change(tmp_path / "app.db", "UPDATE nodes SET parent = 3 WHERE id = 6")
    change(tmp_path / "app.db", "UPDATE nodes SET parent = 9 WHERE id = 4")
    change(tmp_path / "app.db", "INSERT INTO nodes VALUES (8, NULL)")
    out = move(run)
    assert row_of("nodes", out) == ["7", "1", "1", "1", "2", "0", "2", "2", "0"]
    change(tmp_path / "app.db", "INSERT INTO nodes VALUES (9, NULL)")
    out = move(run)
    assert re.search(rf"{TITLES} +failed\n", out), out
    assert row_of("nodes", out) == ["8", "1", "1", "2", "3", "0", "0", "0"]
    assert "  3 upserts and 0 deletes, 0 rejected\n" in out


def test_status_counts_what_waits(run: CommandLine, tmp_path: Path) -> None:
    change(tmp_path / "app.db", "UPDATE nodes SET parent = NULL")
    move(run)
    shown = run("status").out
    assert ("rejected" in shown, "waiting" in shown) == (False, False)
    change(tmp_path / "app.db", "INSERT INTO nodes VALUES (7, -1)")
    move(run)
    shown = run("status").out
    assert re.search(r"records  rejected  records/s +took\n", shown), shown
    change(tmp_path / "app.db", "INSERT INTO nodes VALUES (10, 11)")
    assert json.loads(move(run, "--json").splitlines()[-1])["waiting"] == 1
    shown = run("status").out
    assert re.search(r"records  rejected  waiting  records/s +took\n", shown), shown
    counts = [line.split()[-6:-3] for line in shown.splitlines() if re.match(r" +\d+  (SUCCESS|INCOMPLETE)", line)]
    assert counts == [["7", "0", "0"], ["0", "1", "0"], ["0", "2", "1"]]
    assert [one["waiting"] for one in json.loads(run("status", "--json").out)["flows"][0]["movements"]] == [0, 0, 1]


def test_retry_counts_what_still_waits(run: CommandLine, tmp_path: Path) -> None:
    change(tmp_path / "app.db", "INSERT INTO nodes VALUES (7, 11)")
    move(run)
    Path("ready").touch()
    assert run("retry", "tree").code == 1
    movement = json.loads(run("status", "--json").out)["flows"][0]["movements"][-1]
    assert (movement["waiting"], movement["records"]["quarantined"]) == (1, 1)
