"""`verify` compares what an app holds, as its `dump` says, with the source; `--repair` makes them equal where it can."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import pipeline
from pipeline.connectors.registry import ReadOptions, make_source, parse_location
from tests.cli.app import CommandLine, change
from tests.kit.app import App, move
from tests.kit.plugins import write_plugin

APP = """\
import datetime, decimal, uuid

FILE = Path(__file__).with_name("held.json")

@dataclass
class Project:
    id: int
    name: str

@dataclass
class Issue:
    id: int
    project_id: int
    title: str | None

importer = Importer("tracker")

def held() -> dict[str, dict[str, dict[str, object]]]:
    return json.loads(FILE.read_text()) if FILE.exists() else {"projects": {}, "issues": {}, "notes": {}}

def put(stream, key, row) -> str:
    all_ = held()
    all_[stream][key] = row
    FILE.write_text(json.dumps(all_))
    return key

@importer.creates("projects", row=Project)
async def project(target: None, row: Project, ctx: Import) -> str:
    return put("projects", f"{row.id + 100}", {"id": row.id + 100, "name": row.name})

@importer.creates("issues", row=Issue, after=("projects",))
async def issue(target: None, row: Issue, ctx: Import) -> str:
    project = int(await ctx.ids.need("projects", row.project_id))
    return put("issues", f"i{row.id}", {"id": f"i{row.id}", "project_id": project, "title": row.title, "votes": 0})

@issue.find
async def find(target: None, row: Issue, ctx: Import) -> str | None:
    return None

@issue.update
async def update(target: None, id: str, row: Issue, ctx: Import) -> None:
    if id not in held()["issues"]:
        raise Gone
    await issue(target, row, ctx)

@issue.delete
async def delete(target: None, id: str, ctx: Import) -> None:
    all_ = held()
    all_["issues"].pop(id, None)
    FILE.write_text(json.dumps(all_))

@importer.applies("notes", row=dict)
async def apply(target: None, batch: Batch[dict[str, object]], ctx: Import) -> None:
    all_ = held()
    for record in batch.records:
        key = json.dumps(record.key)
        if isinstance(record, Upsert):
            all_["notes"][key] = {name: str(value) for name, value in record.row.items() if value is not None}
        else:
            all_["notes"].pop(key, None)
    FILE.write_text(json.dumps(all_))
"""
DUMP = """
@importer.dump
async def dump(target: None) -> AsyncIterator[tuple[str, Key, dict[str, object]]]:  # here
    for stream in ("notes", "issues", "projects"):
        for key, row in reversed(held()[stream].items()):
            yield stream, tuple(json.loads(key)) if stream == "notes" else key, row
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """Runs `pipeline` in a directory with a database and an app that has been moved to as the Flow `crm`."""
    monkeypatch.chdir(tmp_path)
    run = CommandLine(tmp_path, capsys)
    for statement in (
        "CREATE TABLE projects (id INTEGER PRIMARY KEY, name TEXT)",
        "CREATE TABLE issues (id INTEGER PRIMARY KEY, project_id INTEGER, title TEXT, internal TEXT)",
        "CREATE TABLE notes (day TEXT, number INTEGER, size REAL, text TEXT, PRIMARY KEY (day, number)) WITHOUT ROWID",
        "INSERT INTO projects VALUES (1, 'one'), (2, 'two')",
        "INSERT INTO issues VALUES (1, 1, 'a', 'x'), (2, 2, NULL, 'x'), (3, 2, 'c', 'x')",
        "INSERT INTO notes VALUES ('2026-01-02', 1, 1.5, 'hello'), ('2026-01-02', 2, 2, NULL)",
    ):
        change(tmp_path / "app.db", statement)
    write_plugin(tmp_path / "app.py", APP + DUMP)
    assert run("move", "app.db", "./app.py:importer", "--flow", "crm").code == 0
    return run


def rewrite(directory: Path, code: str) -> Path:
    """Replace the plug-in, as if another process loaded it."""
    for name in [name for name in sys.modules if name.startswith("pipeline_plugin_")]:
        del sys.modules[name]
    return write_plugin(directory / "app.py", code)


def edit(path: Path, how: Callable[[dict[str, dict[str, dict[str, object]]]], object]) -> None:
    """Change what the app holds."""
    held = json.loads((path / "held.json").read_text())
    how(held)
    (path / "held.json").write_text(json.dumps(held))


def streams(run: CommandLine) -> dict[str, dict[str, object]]:
    found = json.loads(run("verify", "crm", "--json").out)
    return {one["stream"]: one for one in found["streams"]}


def test_an_app_that_holds_what_the_source_holds_is_equal(run: CommandLine, tmp_path: Path) -> None:
    found = run("verify", "crm")
    assert (found.code, "EQUAL: the destination holds what the source holds" in found.out) == (0, True), found.out
    assert "Columns of issues that the Importer does not take, and not compared: internal" in found.out
    by_stream = streams(run)
    assert {name: one["destination"]["rows"] for name, one in by_stream.items()} == {  # type: ignore[index]
        "projects": 2, "issues": 3, "notes": 2,
    }  # fmt: skip
    assert by_stream["issues"]["columns"] == {"missing": [], "extra": ["votes"], "ignored": ["internal"]}
    assert not list(tmp_path.rglob("pipeline-*"))


def test_what_differs_in_the_app_is_found_by_the_keys_of_the_source_and_repaired(
    run: CommandLine, tmp_path: Path
) -> None:
    edit(tmp_path, lambda held: held["issues"]["i1"].update(title="altered"))
    edit(tmp_path, lambda held: held["issues"]["i2"].update(project_id=101))
    edit(tmp_path, lambda held: held["issues"].pop("i3"))
    edit(tmp_path, lambda held: held["notes"].update({'["2026-01-02", 9]': {"text": "more"}}))
    edit(tmp_path, lambda held: held["notes"]['["2026-01-02", 1]'].update(size="1.25"))
    by_stream = streams(run)
    keys = {
        name: [(one["key"], one["is"], one["columns"]) for one in found["keys"]["first"]]  # type: ignore[index]
        for name, found in by_stream.items()
    }
    assert keys == {
        "projects": [],
        "issues": [([1], "different", ["title"]), ([2], "different", ["project_id"]), ([3], "missing", [])],
        "notes": [(["2026-01-02", 1], "different", ["size"]), (["2026-01-02", 9], "extra", [])],
    }
    repaired = run("verify", "crm", "--repair")
    assert repaired.code == 0, repaired.out + repaired.err
    assert "4 upserts and 1 delete" in repaired.out
    assert run("verify", "crm").code == 0


def test_a_second_object_is_found_and_no_row_of_another_key_is_deleted(run: CommandLine, tmp_path: Path) -> None:
    edit(tmp_path, lambda held: held["projects"].update({"1": {"id": 1, "name": "one"}}))  # 1 is a key of the source
    found = run("verify", "crm")
    assert found.code == 1
    row = next(line for line in found.out.splitlines() if line.startswith("  projects"))
    assert row.split()[1:6] == ["2", "3", "0", "1", "0"]
    before = (tmp_path / "held.json").read_text()
    assert run("verify", "crm", "--repair").code == 1
    assert (tmp_path / "held.json").read_text() == before


def test_an_app_without_a_dump_is_not_called_equal(run: CommandLine, tmp_path: Path) -> None:
    rewrite(tmp_path, APP)
    found = run("verify", "crm")
    assert found.code == 1
    assert "not compared: the Importer 'tracker' has no dump. Declare one with @importer.dump" in found.out
    assert "NOT COMPARED: 3 streams" in found.out
    assert "EQUAL" not in found.out
    assert json.loads(run("verify", "crm", "--json").out)["equal"] is False
    assert run("verify", "crm", "--repair").code == 1


def test_a_column_that_the_dump_lacks_is_not_called_equal(run: CommandLine, tmp_path: Path) -> None:
    dump = DUMP.replace(", row\n", ", {name: row[name] for name in row if name != 'title'}\n")
    rewrite(tmp_path, APP + dump)
    found = run("verify", "crm")
    assert found.code == 1
    assert "columns that the destination lacks: title" in found.out


@pytest.mark.parametrize(
    ("yielded", "message"),
    [
        ("'notes', 'x', row", r"the dump yields the key 'x' of 'notes', whose key is day \(text\), number \(integer\)"),
        (
            "'notes', ('2026-01-02', 1), {'text': [chr(0xDCFF)]}",
            r"the dump yields a row of 'notes' .* cannot be written",
        ),
        ("stream, None, row", r"the dump yields NoneType in place of a key"),
    ],
)
def test_a_dump_that_is_wrong_is_named_with_its_line(
    yielded: str, message: str, run: CommandLine, tmp_path: Path
) -> None:
    dump = re.sub(r"yield .*", f"yield {yielded}", DUMP)
    path = rewrite(tmp_path, APP + dump)
    line = next(number for number, text in enumerate(path.read_text().splitlines(), 1) if "# here" in text) - 1
    found = run("verify", "crm")
    assert found.code != 0
    assert re.search(rf"app.py, line {line}: {message}", found.out + found.err.replace("\n", " ")), (
        found.out + found.err
    )


def test_streams_without_a_handler_are_named_and_not_compared(run: CommandLine, tmp_path: Path) -> None:
    for table in ("other", "left"):
        change(tmp_path / "app.db", f"CREATE TABLE {table} (id INTEGER PRIMARY KEY)")
        change(tmp_path / "app.db", f"INSERT INTO {table} VALUES (1)")
    assert run("move", "app.db", "./app.py:importer", "--flow", "crm", "--exclude", "notes").code == 0
    for plugin in (APP + DUMP, APP):
        rewrite(tmp_path, plugin)
        found = run("verify", "crm")
        assert found.code == (0 if plugin.endswith(DUMP) else 1), found.out
        assert "Not handled by the Importer, and not compared: left, other" in found.out
        assert "Excluded from this Flow, and not compared: notes\n" in found.out
    not_compared = json.loads(run("verify", "crm", "--json").out)["not_compared"]
    assert (not_compared["unhandled"], not_compared["left_out"]) == (["left", "other"], ["notes"])


def test_a_stream_that_has_a_handler_now_is_compared(run: CommandLine, tmp_path: Path) -> None:
    change(tmp_path / "app.db", "CREATE TABLE other (id INTEGER PRIMARY KEY)")
    change(tmp_path / "app.db", "INSERT INTO other VALUES (1)")
    assert run("move", "app.db", "./app.py:importer", "--flow", "crm").code == 0
    rewrite(tmp_path, APP.replace('applies("notes"', 'applies("*"') + DUMP)
    found = run("verify", "crm")
    assert (found.code, "handled" in found.out) == (1, False)
    assert streams(run)["other"]["keys"]["missing"] == 1  # type: ignore[index]


def test_records_that_wait_for_an_id_are_counted_as_such(run: CommandLine, tmp_path: Path) -> None:
    change(tmp_path / "app.db", "INSERT INTO issues VALUES (4, 8, 'd', 'x'), (5, 9, 'e', 'x')")
    change(tmp_path / "app.db", "UPDATE issues SET project_id = 9 WHERE id = 1")
    assert run("move", "app.db", "./app.py:importer", "--flow", "crm").code == 1
    edit(tmp_path, lambda held: held["issues"].pop("i3"))
    found = run("verify", "crm")
    assert found.code == 1
    assert re.search(r"waiting  rejected  verdict\n +issues +5 +2 +1 +0 +0 +3 +3  different\n", found.out), found.out
    assert "  3 records wait for the id of another record: `pipeline rejected crm` lists what each needs\n" in found.out
    assert "[4]  waiting  it waits for the new id of projects '8', which has not been imported\n" in found.out
    assert "[1]  waiting  project_id; it waits for the new id of projects '9'" in found.out
    assert "`pipeline verify crm --repair` moves all of these that do not wait." in found.out
    assert "it waits for the new id of projects '8'" in run("rejected", "crm").out
    keys = streams(run)["issues"]["keys"]
    assert {name: keys[name] for name in ("missing", "waiting", "set_aside")} == {  # type: ignore[index]
        "missing": 1, "waiting": 3, "set_aside": 3,
    }  # fmt: skip
    assert "Equal now: 1 of 4 differing keys" in run("verify", "crm", "--repair").out
    found = run("verify", "crm", "--repair")
    assert "DIFFERENT: 3 keys in 1 stream. 3 records wait for the id of another record: `pipeline rejected crm`.\n" in (
        found.out
    )
    assert "Repaired" not in found.out
    change(tmp_path / "app.db", "INSERT INTO projects VALUES (8, 'eight'), (9, 'nine')")
    assert run("move", "app.db", "./app.py:importer", "--flow", "crm").code == 0
    assert run("verify", "crm").code == 0


def test_a_rejected_record_of_an_app_has_its_reason(run: CommandLine, tmp_path: Path) -> None:
    rewrite(
        tmp_path,
        APP.replace("    project = int(", "    if row.id == 4: raise Refused('too long')\n    project = int(") + DUMP,
    )
    change(tmp_path / "app.db", "INSERT INTO issues VALUES (4, 1, 'd', 'x')")
    for _ in range(2):
        assert run("move", "app.db", "./app.py:importer", "--flow", "crm").code == 1
        found = run("verify", "crm")
        assert (found.code, "[4]  missing  rejected: too long\n" in found.out) == (1, True), found.out
        assert "wait" not in found.out


def test_a_key_that_the_app_has_twice_is_named(run: CommandLine, tmp_path: Path) -> None:
    twice = """
            if key in ("i2", '["2026-01-02", 1]'):
                yield stream, tuple(json.loads(key)) if stream == "notes" else key, row
"""
    rewrite(tmp_path, APP + DUMP + twice + twice * 2000)
    found = run("verify", "crm")
    assert (found.code, "DIFFERENT: 2 keys in 2 streams.\n" in found.out) == (1, True), found.out
    assert re.search(r"different  twice  rejected  verdict\n +issues +3 +2004 ", found.out.replace(",", "")), found.out
    assert "  [2]  twice\n" in found.out
    assert '  ["2026-01-02",1]  twice\n' in found.out
    assert "1 key there more than once: the app has a second object, or its dump gives one twice." in found.out
    by_stream = streams(run)
    assert {name: one["keys"]["twice"] for name, one in by_stream.items()} == {  # type: ignore[index]
        "projects": 0, "issues": 1, "notes": 1,
    }  # fmt: skip
    assert "Repaired" not in run("verify", "crm", "--repair").out


@pytest.mark.parametrize("can_fetch", [True, False])
async def test_a_row_that_a_list_has_missed_is_asked_for(can_fetch: bool, tmp_path: Path) -> None:
    app = App({number: f"name {number}" for number in range(9)}, can_fetch=can_fetch)
    movement = await move(app.source(), str(tmp_path / "copy.db"), tmp_path)
    assert movement.status is pipeline.Status.SUCCESS

    def shift(after: str | None) -> None:
        if after == "3":  # row 4 moves to the page that was read already
            app.things = {4: app.things[4]} | app.things

    app.before_page = shift
    settings = pipeline.Settings(home=tmp_path / "home")
    for name in ("name 4", "changed"):
        app.things = {number: app.things[number] for number in range(9)} | {4: name}
        copy = make_source(parse_location(str(tmp_path / "copy.db")), ReadOptions())
        (report,) = (await pipeline.verify("app", source=app.source(), destination=copy, settings=settings)).streams
        found = [(one.key, one.finding.value, one.columns) for one in report.examples]
        if not can_fetch:
            assert (found, report.source.rows) == ([((4,), "extra", ())], 8)
        else:
            assert found == ([] if name == "name 4" else [((4,), "different", ("name",))])
            assert report.equal is (name == "name 4")
            assert report.source.rows == report.destination.rows == 9
