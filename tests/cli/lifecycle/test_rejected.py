"""`pipeline rejected` and `pipeline retry`."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest

from pipeline.assembly.commands.lifecycle.corrections import RejectedRow, write_csv
from tests.cli.app import CommandLine, change, contents, make_database

OLD = [number for number in range(1, 101) if number % 90 >= 80]
"""The people whose age the check of the destination rejects: 80 to 89."""
LAX = "CREATE TABLE lax (id INTEGER PRIMARY KEY, name TEXT, age INTEGER)"


@pytest.fixture
def crm(pipeline: CommandLine) -> CommandLine:
    """A Flow whose Movement left the records that a check of the destination rejects."""
    make_database(pipeline.directory / "app.db")
    checked = "CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT, age INTEGER CHECK (age < 80))"
    change(pipeline.directory / "copy.db", checked)
    assert pipeline("move", "app.db", "copy.db", "--flow", "crm").code == 1
    return pipeline


def lift_the_check(directory: Path) -> None:
    """Let the destination accept every age."""
    for statement in (
        LAX,
        "INSERT INTO lax SELECT * FROM people",
        "DROP TABLE people",
        "ALTER TABLE lax RENAME TO people",
    ):
        change(directory / "copy.db", statement)


def rows(directory: Path) -> list[dict[str, str]]:
    with (directory / "rejected.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def write(directory: Path, corrected: list[dict[str, str]]) -> None:
    with (directory / "rejected.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, corrected[0])
        writer.writeheader()
        writer.writerows(corrected)


def latest(crm: CommandLine) -> dict[str, Any]:
    flows: Any = crm("status", "--json").objects[0]["flows"]
    movement: dict[str, Any] = flows[0]["movements"][-1]
    return movement


def test_rejected_records_are_listed_with_file_line_key_column_value_and_reason(crm: CommandLine) -> None:
    listed = crm("rejected", "crm")
    assert listed.code == 0
    assert len(listed.out.splitlines()) == len(OLD)
    assert "1/people/full/0, line 81, key [80]" in listed.out
    assert "CHECK" in listed.out
    found = crm("rejected", "crm", "--json").objects
    assert [one["key"] for one in found] == [f"[{number}]" for number in OLD]
    assert found[0]["stream"] == "people"
    assert crm("rejected", "crm", "--stream", "cars").out == "Flow crm has no rejected records.\n"
    assert len(crm("rejected", "crm", "--reason", "check", "--json").objects) == len(OLD)
    assert crm("rejected", "crm", "--csv", "rejected.csv").code == 0
    assert list(rows(crm.directory)[0])[:6] == ["file", "line", "key", "column", "value", "reason"]


def test_a_retry_loads_what_is_accepted_now_and_changes_the_count_alone(crm: CommandLine) -> None:
    again = crm("retry", "crm")
    assert (again.code, again.out.splitlines()[0]) == (1, "10 records tried again: 0 accepted, 10 rejected.")
    before = latest(crm)
    lift_the_check(crm.directory)
    done = crm("retry", "crm", "--json")
    assert (done.code, done.objects[0]["accepted"], done.objects[0]["rejected"]) == (0, len(OLD), 0)
    assert contents(crm.directory / "copy.db") == contents(crm.directory / "app.db")
    after = latest(crm)
    assert (after["movement"], after["status"], after["updated"]) == (1, "INCOMPLETE", before["updated"])
    assert after["records"] == {"upserts": 100, "deletes": 0, "quarantined": 0}
    assert after["problems"] == []
    assert "none is left to retry" in after["sentence"]
    assert "`pipeline rerun crm`" in after["sentence"]
    shown = crm("status").out
    assert "none is left to retry" in shown
    assert "problem" not in shown
    assert "`pipeline rerun crm` moves what Movement 1 left" in crm("retry", "crm").err
    assert crm("move", "--flow", "crm").code == 0


def test_the_problems_of_accepted_records_alone_are_gone(crm: CommandLine) -> None:
    assert len(latest(crm)["problems"]) == len(OLD)
    crm("rejected", "crm", "--csv", "rejected.csv")
    found = rows(crm.directory)
    assert '"age":80' in found[0]["record"]
    found[0]["record"] = found[0]["record"].replace('"age":80', '"age":30')
    write(crm.directory, found)
    assert crm("rejected", "crm", "--load", "rejected.csv").code == 0
    after = latest(crm)
    assert len(after["problems"]) == len(OLD) - 1
    assert not any("key [80] " in problem for problem in after["problems"])
    assert "`pipeline retry crm` tries them again" in after["sentence"]


def test_a_retry_may_be_of_a_stream_or_a_reason_alone(crm: CommandLine) -> None:
    lift_the_check(crm.directory)
    for arguments in (("--stream", "cars"), ("--reason", "foreign key")):
        refused = crm("retry", "crm", *arguments)
        assert (refused.code, "has no such rejected record" in refused.err) == (2, True)
    assert crm("retry", "crm", "--stream", "peo*", "--reason", "CHECK").code == 0


def test_a_newer_version_wins_over_a_rejected_one(crm: CommandLine) -> None:
    change(crm.directory / "app.db", "UPDATE people SET age = 1 WHERE id = 80")
    assert crm("move", "--flow", "crm").code == 1
    lift_the_check(crm.directory)
    assert crm("retry", "crm", "--json").objects[0]["tried"] == len(OLD) - 1
    assert contents(crm.directory / "copy.db") == contents(crm.directory / "app.db")


def test_a_retry_without_rejected_records_names_what_is_meant(pipeline: CommandLine) -> None:
    make_database(pipeline.directory / "app.db")
    assert pipeline("move", "app.db", "copy.db", "--flow", "crm").code == 0
    refused = pipeline("retry", "crm")
    assert refused.code == 2
    assert "there is nothing to retry. `pipeline start crm`" in refused.err
    pipeline("start", "crm")
    refused = pipeline("retry", "crm")
    assert (refused.code, "is READY: it cannot be asked to retry" in refused.err) == (2, True)
    pipeline("stop", "crm")
    refused = pipeline("retry", "crm")
    assert (refused.code, "`pipeline rerun crm` moves what Movement 2 left" in refused.err) == (2, True)


def test_corrected_records_are_loaded(crm: CommandLine) -> None:
    crm("rejected", "crm", "--csv", "rejected.csv")
    corrected = rows(crm.directory)
    for row in corrected[:3]:
        row["record"] = row["record"].replace('"age":8', '"age":7')
    corrected[3]["record"] = corrected[3]["record"].replace('"age":8', '"age":9')
    write(crm.directory, corrected)
    done = crm("rejected", "crm", "--load", "rejected.csv")
    assert (done.code, done.out.splitlines()[0]) == (1, "4 records tried again: 3 accepted, 1 rejected.")
    ages = {number: age for number, _, age in contents(crm.directory / "copy.db")}
    assert (ages[80], ages[81], ages[82]) == (70, 71, 72)
    assert 83 not in ages
    left = crm("rejected", "crm", "--json").objects
    assert len(left) == len(OLD) - 3
    assert any('"age":93' in str(one["record"]) for one in left)


def test_a_value_is_corrected_where_the_reason_names_the_column(crm: CommandLine) -> None:
    write(crm.directory, [{**row, "column": "age", "value": "7"} for row in _listed(crm)[:2]])
    assert crm("rejected", "crm", "--load", "rejected.csv").code == 0
    ages = {number: age for number, _, age in contents(crm.directory / "copy.db")}
    assert (ages[80], ages[81]) == (7, 7)


def test_text_like_a_formula_is_guarded_in_the_file_and_loaded_as_it_is(crm: CommandLine) -> None:
    kept = RejectedRow("people", "1/people/full/0", 2, '["@a"]', "name", "=1+1", "-x", "{}")
    file = io.StringIO(newline="")
    write_csv([kept], file)
    (row,) = csv.DictReader(io.StringIO(file.getvalue(), newline=""))
    assert (row["value"], row["reason"], row["key"]) == ("'=1+1", "'-x", '["@a"]')
    change(crm.directory / "app.db", "UPDATE people SET name = '=1+1' WHERE id = 80")
    assert crm("move", "--flow", "crm").code == 1
    lift_the_check(crm.directory)
    listed = {**next(row for row in _listed(crm) if row["key"] == "[80]"), "column": "name"}
    for left in ("'=1+1", "=1+1"):
        write(crm.directory, [{**listed, "value": left}])
        assert "No row was corrected" in crm("rejected", "crm", "--load", "rejected.csv").err
    write(crm.directory, [{**listed, "value": "'=2+2"}])
    assert crm("rejected", "crm", "--load", "rejected.csv").code == 0
    assert [name for number, name, _ in contents(crm.directory / "copy.db") if number == 80] == ["=2+2"]


def test_a_large_record_is_corrected_too(crm: CommandLine) -> None:
    change(crm.directory / "app.db", f"UPDATE people SET name = '{'x' * 200_000}' WHERE id = 80")
    assert crm("move", "--flow", "crm").code == 1
    csv.field_size_limit(1 << 20)
    corrected = next(row for row in _listed(crm) if row["key"] == "[80]")
    csv.field_size_limit(131_072)  # the default, which the command must raise
    write(crm.directory, [{**corrected, "column": "age", "value": "7"}])
    assert crm("rejected", "crm", "--load", "rejected.csv").code == 0
    assert (80, "x" * 200_000, 7) in contents(crm.directory / "copy.db")


def _listed(crm: CommandLine) -> list[dict[str, str]]:
    crm("rejected", "crm", "--csv", "rejected.csv")
    return rows(crm.directory)


@pytest.mark.parametrize(
    ("change_row", "words"),
    [
        ({"line": "7"}, "row 2: Flow 'crm' has no rejected record in 1/people/full/0"),
        ({"record": '{"upsert":{"id":5,"name":"x","age":1}}'}, "row 2: the key of a record cannot be changed (id)"),
        ({"record": '{"delete":{"id":80}}'}, "row 2: the record must stay of the kind 'upsert'"),
        ({"column": "age", "value": "1" * 25}, "row 2: the value holds an integer of more than 64 bits"),
        (
            {"record": f'{{"upsert":{{"id":80,"name":"x","age":{"1" * 25}}}}}'},
            "row 2: the record holds an integer of more",
        ),
        ({"record": "seven"}, "row 2: the record is not a JSON object"),
        ({"record": '{"upsert":{"id":80}}'}, "row 2: the record must keep its columns"),
        ({"column": "size", "value": "7"}, "row 2: the record has no column 'size'"),
        ({"value": "7"}, "row 2: the reason names no column: correct `record`, or write the name of the column"),
        ({}, "No row was corrected"),
    ],
)
def test_what_is_no_correction_is_refused_and_nothing_is_loaded(
    crm: CommandLine, change_row: dict[str, str], words: str
) -> None:
    first, *others = _listed(crm)
    write(crm.directory, [first | change_row, *others])
    refused = crm("rejected", "crm", "--load", "rejected.csv")
    assert (refused.code, words in refused.err) == (2, True), refused.err
    assert len(crm("rejected", "crm", "--json").objects) == len(OLD)


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_a_file_that_a_spreadsheet_has_saved_is_read(crm: CommandLine, delimiter: str) -> None:
    listed = _listed(crm)
    saved = io.StringIO(newline="")
    writer = csv.DictWriter(saved, listed[0].keys(), delimiter=delimiter)
    writer.writeheader()
    writer.writerows([listed[0] | {"record": listed[0]["record"].replace('"age":80', '"age":7')}, *listed[1:]])
    saved.write(delimiter * (len(listed[0]) - 1) + "\r\n")
    (crm.directory / "rejected.csv").write_text(saved.getvalue(), encoding="utf-8-sig", newline="")
    assert crm("rejected", "crm", "--load", "rejected.csv").out.startswith("1 record tried again: 1 accepted")


def test_two_corrections_of_one_record_are_refused(crm: CommandLine) -> None:
    first, *others = _listed(crm)
    twice = [first | {"column": "age", "value": age} for age in ("6", "7")]
    write(crm.directory, [*twice, *others])
    refused = crm("rejected", "crm", "--load", "rejected.csv")
    assert "row 3: row 2 corrects the same record: leave one of them" in refused.err
    assert len(crm("rejected", "crm", "--json").objects) == len(OLD)


def test_a_file_that_is_none_of_ours_is_refused(crm: CommandLine) -> None:
    (crm.directory / "rejected.csv").write_text("id,name\n1,x\n")
    assert "has no column file, line, column, value" in crm("rejected", "crm", "--load", "rejected.csv").err
    assert "cannot be read" in crm("rejected", "crm", "--load", "nowhere.csv").err
    (crm.directory / "rejected.csv").write_bytes(b"file,line\n\xff\xfe")
    assert "is not UTF-8 text" in crm("rejected", "crm", "--load", "rejected.csv").err
