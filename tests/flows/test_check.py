"""`pipeline check`: each check finds what it is for, what blocks can be accepted, and nothing is changed."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pytest

from tests.cli.app import CommandLine, Outcome, change, contents
from tests.connectors.postgres.places import place_factory
from tests.kit.plugins import write_plugin
from tests.servers.postgresql import PostgresqlServer

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "checks.md").read_text()


def findings(outcome: Outcome) -> dict[str, Any]:
    """The findings by id."""
    (report,) = outcome.objects
    return {one["id"]: one for one in report["findings"]}  # type: ignore[attr-defined]


def severities(outcome: Outcome) -> dict[str, str]:
    """The findings that are not ok."""
    return {id_: one["severity"] for id_, one in findings(outcome).items() if one["severity"] != "ok"}


def run(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def test_places_in_order_pass_and_nothing_is_changed(pipeline: CommandLine) -> None:
    before = sorted(Path().rglob("*"))
    outcome = pipeline("check", "app.db", "copy.db", "--json")
    assert outcome.code == 0
    (report,) = outcome.objects
    assert (report["verdict"], report["flow"]) == ("ok", None)
    assert severities(outcome) == {}
    estimate = report["estimate"]
    assert isinstance(estimate, dict)
    assert estimate["rows"] == 5
    assert estimate["bytes"] > 100
    assert 0 < estimate["seconds"]["least"] <= estimate["seconds"]["most"] < 60
    assert sorted(Path().rglob("*")) == before
    assert "Nothing is in the way." in pipeline("check", "app.db", "copy.db").out


def test_every_built_in_check_is_documented_and_no_other(pipeline: CommandLine) -> None:
    pipeline("flow", "create", "crm", "app.db", "copy.db")
    run_ids = list(findings(pipeline("check", "crm", "--json")))
    quick_ids = list(findings(pipeline("check", "crm", "--quick", "--json")))
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in PAGE.splitlines() if line.startswith("| `")]
    assert sorted(row[0].strip("`") for row in rows) == sorted(run_ids)
    assert sorted(row[0].strip("`") for row in rows if row[4] == "yes") == sorted(quick_ids)
    assert pipeline("check", "crm", "--quick", "--json").objects[0]["estimate"] is None


class Wrong(NamedTuple):
    """What is wrong with a place, and the check that says so."""

    source: Sequence[str]
    destination: Sequence[str]
    id: str
    severity: str
    sample: str


WRONG = [
    Wrong(["CREATE TABLE plain (a, b)"], [], "keys", "warning", "plain"),
    Wrong(["CREATE TABLE \"caf\u00e9\" (id INTEGER PRIMARY KEY)", "CREATE TABLE \"cafe\u0301\" (id INTEGER PRIMARY KEY)"], [],
          "names", "warning", "cafe\u0301 and caf\u00e9"),
    Wrong(["CREATE TABLE t (id INTEGER PRIMARY KEY, \"\u00fc\" TEXT, \"\u00dc\" TEXT)"], [],
          "names", "warning", "t: \u00dc and \u00fc"),
    Wrong([], ["CREATE TABLE Album (id INTEGER PRIMARY KEY)"], "names", "warning", "album and Album of the destination"),
    Wrong([], ["CREATE TABLE artist (id INTEGER PRIMARY KEY, name TEXT, code TEXT NOT NULL)"], "types", "blocks",
          "artist.code: only the destination has it"),
    Wrong(["INSERT INTO album VALUES (9, 99, 'orphan')"], [], "references", "warning", "album (artist)"),
]  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG, ids=[f"{one.id}: {one.sample}" for one in WRONG])
def test_each_check_finds_what_it_is_for(pipeline: CommandLine, wrong: Wrong) -> None:
    run(Path("app.db"), *wrong.source)
    if wrong.destination:
        run(Path("copy.db"), *wrong.destination)
    outcome = pipeline("check", "app.db", "copy.db", "--json")
    assert wrong.id in severities(outcome), outcome.out
    found = findings(outcome)[wrong.id]
    assert found["severity"] == wrong.severity
    assert any(wrong.sample in one for one in found["sample"]), found
    assert found["count"] >= 1
    assert found["steps"]
    assert outcome.code == (1 if wrong.severity == "blocks" else 0)


def test_a_sample_names_five_things_and_counts_all(pipeline: CommandLine) -> None:
    run(Path("app.db"), *(f"CREATE TABLE plain_{number} (a)" for number in range(7)))
    found = findings(pipeline("check", "app.db", "copy.db", "--json"))["keys"]
    assert (found["count"], len(found["sample"])) == (7, 5)
    assert "… and 2 more" in pipeline("check", "app.db", "copy.db").out


def test_the_estimate_has_each_file_of_a_tree_once(pipeline: CommandLine) -> None:
    Path("app", "large").write_bytes(bytes(500_000))
    (report,) = pipeline("check", "app/", "copy/", "--json").objects
    assert 500_000 < report["estimate"]["bytes"] < 600_000  # type: ignore[index]


def test_places_that_do_not_answer_block(pipeline: CommandLine) -> None:
    outcome = pipeline("check", "none.db", "copy.db", "--json")
    assert outcome.code == 1
    assert severities(outcome) == {"connection": "blocks"}
    assert "none.db" in findings(outcome)["connection"]["sample"][0]
    outcome = pipeline("check", "app.db", "none/copy.db", "--json")
    assert severities(outcome)["rights"] == "blocks"
    assert not Path("none").exists()


def test_a_tree_names_twins_and_what_cannot_be_read(pipeline: CommandLine) -> None:
    for name in ("README", "readme", "caf\u00e9", "cafe\u0301"):
        Path("app", name).write_text(name)
    outcome = pipeline("check", "app/", "copy/", "--json")
    found = findings(outcome)
    assert found["file-names"]["count"] == 2
    assert found["estimate"]["count"] >= 5
    assert outcome.objects[0]["estimate"]["bytes"] > Path("app/app.py").stat().st_size  # type: ignore[index]
    assert not Path("copy").exists()


def test_streams_that_nobody_imports_are_named(pipeline: CommandLine) -> None:
    arguments = ("app/app.py:exporter", "app/app.py:importer", "--source-set", "path=people.json")
    outcome = pipeline("check", *arguments, "--destination-set", "path=store.json", "--json")
    assert findings(outcome)["streams"]["sample"] == ["pets"]
    assert Path("store.json").read_text() == "{}"


def test_a_view_does_not_travel_to_an_app(pipeline: CommandLine) -> None:
    run(Path("app.db"), "CREATE VIEW loud AS SELECT upper(name) FROM artist")
    outcome = pipeline("check", "app.db", "app/app.py:importer", "--destination-set", "path=store.json", "--json")
    assert "view loud: a destination of another technology" in findings(outcome)["inventory"]["sample"][0]
    assert severities(pipeline("check", "app.db", "copy.db", "--json")) == {}


APP = """
exporter = Exporter("strict")

@exporter.rows("notes", row=dict, key="id", columns={"id": int, "text": Binary})
async def notes(client: None) -> AsyncIterator[dict]:
    yield {"id": 1, "text": Binary(Path("none.txt"))}

@exporter.check("licence", title="The licence is valid")
async def licence(client: None) -> AsyncIterator[Finding]:
    if Path("expired").exists():
        yield Finding("it ended in May", Level.ERROR, count=1, sample=["seat 4"], steps="Renew it.", excludable=True)

@exporter.check("version", title="The version is known")
async def version(client: None) -> AsyncIterator[Finding]:
    yield Finding("it is 3", Level.INFO)
    if Path("old").exists():
        yield Finding("it is too old", Level.ERROR)
"""


def test_contents_that_are_missing_are_named(pipeline: CommandLine) -> None:
    write_plugin(Path("strict.py"), APP)
    outcome = pipeline("check", "./strict.py:exporter", "copy.db", "--json")
    assert findings(outcome)["contents"]["severity"] == "warning"
    assert "notes, key [1]: the content cannot be read" in findings(outcome)["contents"]["sample"][0]


def test_checks_of_an_app_block_until_they_are_accepted(pipeline: CommandLine) -> None:
    write_plugin(Path("strict.py"), APP)
    Path("none.txt").write_text("here now")
    pipeline("flow", "create", "notes", "./strict.py:exporter", "copy.db")
    assert severities(pipeline("check", "notes", "--json")) == {}
    Path("expired").touch()
    outcome = pipeline("check", "notes", "--json")
    assert outcome.code == 1
    assert findings(outcome)["licence"] == {
        "id": "licence", "severity": "blocks", "title": "The licence is valid: it ended in May", "count": 1,
        "sample": ["seat 4"], "steps": "Renew it.", "excludable": True, "accepted": None,
    }  # fmt: skip
    assert pipeline("move", "--flow", "notes").code == 2
    accepted = pipeline("check", "notes", "--accept", "licence", "--reason", "renewed by letter", "--json")
    assert accepted.code == 0
    assert findings(accepted)["licence"]["severity"] == "warning"
    assert findings(pipeline("check", "notes", "--json"))["licence"]["accepted"] == "renewed by letter"
    assert pipeline("move", "--flow", "notes").code == 0
    assert pipeline("move", "./strict.py:exporter", "copy.db", "--flow", "notes").code == 0
    Path("old").touch()  # not excludable
    assert pipeline("check", "notes", "--accept", "version", "--reason", "it works").code == 2
    assert "is too old" in pipeline("move", "--flow", "notes").err
    (stored,) = Path(".pipeline").rglob("flow.json")
    (kept,) = orjson.loads(stored.read_bytes())["acceptedFindings"]
    assert (kept["id"], kept["reason"]) == ("licence", "renewed by letter")
    assert kept["by"]
    assert kept["at"]


LIMITS = """
wordy = Exporter("wordy")

@wordy.rows("notes", row=dict, key="id", columns={"id": int})
async def notes(client: None) -> AsyncIterator[dict]:
    yield {"id": 1}

def declare(id: str, title: str) -> None:
    @wordy.check(id, title=title)
    async def check(client: None) -> AsyncIterator[Finding]:
        if id == "long-steps":
            yield Finding("it is old", steps="x" * 1_051)

declare("long-title", "t" * 61)
declare("long-steps", "A title")
declare("fine", "t" * 60)
"""


def test_limits_of_the_public_platform_are_a_lint(pipeline: CommandLine) -> None:
    write_plugin(Path("wordy.py"), LIMITS)
    assert "sam-limits" not in findings(pipeline("check", "./wordy.py:wordy", "copy.db", "--json"))
    outcome = pipeline("check", "./wordy.py:wordy", "copy.db", "--lint", "sam", "--json")
    assert outcome.code == 0
    assert findings(outcome)["sam-limits"]["sample"] == [
        "long-title: a title of 61 characters, at most 60",
        "long-steps: steps of 1,051 characters, at most 1,050",
    ]
    write_plugin(Path("wordier.py"), LIMITS + 'declare("fourth", "Another")')
    outcome = pipeline("check", "./wordier.py:wordy", "copy.db", "--lint", "sam", "--json")
    assert "4 checks in one app, at most 3" in findings(outcome)["sam-limits"]["sample"]
    assert findings(pipeline("check", "app.db", "copy.db", "--lint", "sam", "--json"))["sam-limits"]["severity"] == "ok"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("crm", "--accept", "types"), "Say why the finding is accepted"),
        (("crm", "--accept", "types", "--reason", " "), "Say why the finding is accepted"),
        (
            ("crm", "--accept", "colour", "--reason", "x"),
            "There is no check 'colour'. The checks are: approvals, clocks, connection",
        ),
        (("crm", "--accept", "keys", "--reason", "x"), "cannot be accepted"),
        (("app.db", "other.db", "--accept", "types", "--reason", "x"), "There is no Flow"),
        (("crm", "--flow", "crm"), "Name SOURCE and DESTINATION, or one FLOW"),
        (("a", "b", "c"), "Name SOURCE and DESTINATION, or one FLOW"),
        (("app.db", "app/"), "one is a database, the other a directory tree"),
        (("note.txt", "app/"), "note.txt: this is a file, and no SQLite database"),
    ],
)
def test_wrong_usage_is_one_message(pipeline: CommandLine, arguments: tuple[str, ...], reason: str) -> None:
    pipeline("flow", "create", "crm", "app.db", "copy.db")
    run(Path("copy.db"), "CREATE TABLE artist (id INTEGER PRIMARY KEY, name TEXT, code TEXT NOT NULL)")
    run(Path("other.db"), "CREATE TABLE artist (id INTEGER PRIMARY KEY, name TEXT, code TEXT NOT NULL)")
    Path("note.txt").write_text("This file is larger than the header of a database.")
    outcome = pipeline("check", *arguments)
    assert outcome.code == 2
    assert reason in outcome.err
    (stored,) = Path(".pipeline").rglob("flow.json")
    assert orjson.loads(stored.read_bytes())["acceptedFindings"] == []


def test_an_unknown_flow_is_said(pipeline: CommandLine) -> None:
    pipeline("flow", "create", "crm", "app.db", "copy.db")
    outcome = pipeline("check", "none")
    assert outcome.code == 1
    assert "There is no Flow named 'none'" in outcome.err


def test_what_a_flow_declares_and_how_it_went_is_checked(pipeline: CommandLine) -> None:
    change(Path("app.db"), "INSERT INTO album VALUES (9, 99, 'orphan')")
    assert pipeline("move", "app.db", "copy.db", "--flow", "crm").code == 1
    found = findings(pipeline("check", "crm", "--json"))
    assert (found["history"]["severity"], found["history"]["sample"]) == ("warning", ["Movement 1: INCOMPLETE"])
    change(Path("app.db"), "DELETE FROM album WHERE id = 9")
    assert pipeline("move", "app.db", "copy.db", "--flow", "crm").code == 0
    found = findings(pipeline("check", "crm", "--json"))
    assert found["history"]["title"] == "The latest Movements: 1 SUCCESS, 1 INCOMPLETE."
    pipeline("flow", "set", "crm", 'stream."log*".group="logs"', "--yes")
    change(Path("app.db"), "DROP TABLE log_2025")
    outcome = pipeline("check", "crm", "--json")
    assert outcome.code == 1
    assert findings(outcome)["declared"]["sample"] == [
        "Flow 'crm', [flow.crm.stream.\"log*\"]: the pattern matches no stream of the source"
    ]


def test_move_and_start_check_the_free_space(pipeline: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline("flow", "create", "crm", "app.db", "copy.db")
    usage = shutil.disk_usage(".")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage._replace(free=5_000))
    for command in (("move", "--flow", "crm"), ("start", "crm")):
        outcome = pipeline(*command)
        assert outcome.code == 1
        assert "Check 'space': Less free space than the 1 MB" in outcome.err
        assert "pipeline check crm --accept space --reason" in outcome.err
    assert not Path("copy.db").exists()
    assert pipeline("check", "crm", "--accept", "space", "--reason", "compressed").code == 0
    assert pipeline("start", "crm").code == 0
    assert pipeline("move", "--flow", "crm").code == 0
    assert contents(Path("copy.db"), "artist") == contents(Path("app.db"), "artist")


def test_a_postgresql_destination_that_does_not_fit(pipeline: CommandLine, postgresql: PostgresqlServer) -> None:
    place = place_factory(postgresql)()
    table = "CREATE TABLE prices (id INTEGER PRIMARY KEY, price REAL, code TEXT)"
    run(Path("app.db"), table, "INSERT INTO prices VALUES (1, 2.5, 'long')")
    place.run("CREATE TABLE prices (id bigint PRIMARY KEY, price timestamptz, code varchar(3), note text NOT NULL)")
    outcome = pipeline("check", "app.db", place.uri, "--json")
    found = findings(outcome)
    assert outcome.code == 1
    assert found["types"]["sample"] == [
        "prices.price: real at the source, timestamptz at the destination",
        "prices.note: only the destination has it, it must not be NULL, and it has no default",
    ]
    assert found["lengths"]["sample"] == ["prices.code, key [1]: 4 characters, at most 3"]
    assert found["clocks"]["severity"] == found["rights"]["severity"] == "ok"
    place.run(
        "CREATE ROLE may_read LOGIN", "REVOKE CREATE ON SCHEMA public FROM PUBLIC", "GRANT SELECT ON prices TO may_read"
    )
    refused = findings(pipeline("check", "app.db", place.as_user("may_read"), "--quick", "--json"))["rights"]
    assert (refused["severity"], refused["excludable"]) == ("blocks", True)
    assert "permission denied" in refused["sample"][0]
    assert place.rows("SELECT count(*) FROM pg_class WHERE relname LIKE '_pipeline%'") == [(0,)]


def test_the_check_of_a_flow_is_an_event_of_its_history(pipeline: CommandLine) -> None:
    pipeline("flow", "create", "crm", "app.db", "copy.db")
    run(Path("copy.db"), "CREATE TABLE artist (id INTEGER PRIMARY KEY, name TEXT, code TEXT NOT NULL)")
    pipeline("check", "crm")
    (event,) = [orjson.loads(path.read_bytes()) for path in Path(".pipeline").rglob("check.finished.*.json")]
    data = event["data"]
    assert (data["verdict"], data["blocking"], data["warnings"]) == ("blocks", 1, 0)
    assert data["checks"] > 10
    assert "Columns of the destination" in event["reasons"][0]
    assert "check.finished" in pipeline("history", "crm", "--json").out
