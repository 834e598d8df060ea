"""`pipeline flow apply`, `set`, `show` and `list`, and `pipeline move --flow NAME`."""

from __future__ import annotations

import io
import json
from pathlib import Path

import orjson
import pytest

from tests.cli.app import CommandLine, change, contents
from tests.connectors.sam.exports import write_file

FLOWS = """
[flow.crm]
source = "app.db"
destination = "copy.db"
requires = "transaction"

[flow.crm.stream."log*"]
include = false

[flow.crm.stream."alb*"]
group = "music"

[flow.crm.group.music]
depends_on = ["artist"]

[flow.crm.windows]
life_days = 7
reruns = false

[flow.crm.limits]
event_file_rows = 1

[flow.crm.retention]
reports_days = 3

[flow.crm.approvals]
text = "All of it."
links = ["https://example.com/policy"]
"""
KIT = """
[flow.people]
source = "./app.py:exporter"
destination = "./app.py:importer"

[flow.people.source_options]
path = "people.json"
token = "env:SOURCE_TOKEN"

[flow.people.destination_options]
path = "store.json"
token = "env:TARGET_TOKEN"

[flow.people.stream.pets]
include = false
"""


def write(directory: Path, text: str, name: str = "flows.toml") -> Path:
    path = directory / name
    path.write_text(text)
    return path


def test_a_file_is_applied_moved_and_shown(pipeline: CommandLine) -> None:
    write(pipeline.directory, FLOWS)
    outcome = pipeline("flow", "apply", "flows.toml", "--yes")
    assert outcome.code == 0
    assert 'group.music.depends_on: ["artist"]' in outcome.out
    assert not Path("copy.db").exists()
    again = pipeline("flow", "apply", "flows.toml", "--json")
    assert (again.code, again.objects) == (
        0,
        [{"applied": True, "flows": [{"flow": "crm", "action": "none", "changes": [], "unchecked": None}]}],
    )
    moved = pipeline("move", "--flow", "crm", "--json")
    assert moved.code == 0
    assert moved.objects[-1]["event_files"] == {"exported": 4, "imported": 4, "skipped": 0, "failed": 0}  # a row each
    assert contents(Path("copy.db"), "album") == contents(Path("app.db"), "album")
    with pytest.raises(Exception, match="no such table"):
        contents(Path("copy.db"), "log_2025")
    assert {entry["label"] for entry in pipeline("files", "crm", "--json").objects} == {"artist", "music"}


def test_what_is_shown_declares_the_same_flow(pipeline: CommandLine) -> None:
    write(pipeline.directory, FLOWS)
    pipeline("flow", "apply", "flows.toml", "--yes")
    shown = pipeline("flow", "show", "crm")
    assert shown.code == 0
    write(pipeline.directory, shown.out, "shown.toml")
    (same,) = pipeline("flow", "apply", "shown.toml", "--json").objects
    assert [one["action"] for one in same["flows"]] == ["none"]  # type: ignore[attr-defined]
    (described,) = pipeline("flow", "show", "crm", "--json").objects
    assert described["declared"]["windows"] == {"life_days": 7, "reruns": False}  # type: ignore[index]
    pipeline("flow", "create", "plain", "app.db", "other.db")
    assert pipeline("flow", "show", "plain").out.splitlines()[0] == "[flow.plain]"


def test_nothing_is_changed_without_consent(pipeline: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    write(pipeline.directory, FLOWS)
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    outcome = pipeline("flow", "apply", "flows.toml")
    assert outcome.code == 1
    assert "Flow crm is created" in outcome.out
    assert "Nothing was changed" in outcome.out
    assert pipeline("flow", "apply", "flows.toml", "--json").objects[0]["applied"] is False
    assert pipeline("flow", "show", "crm").code == 1
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert pipeline("flow", "apply", "flows.toml").code == 0
    assert pipeline("flow", "show", "crm").code == 0


def test_a_change_is_shown_and_applied_and_others_stay(pipeline: CommandLine) -> None:
    write(pipeline.directory, FLOWS)
    pipeline("flow", "apply", "flows.toml", "--yes")
    pipeline("move", "--flow", "crm")
    pipeline("flow", "create", "other", "app.db", "other.db")
    write(pipeline.directory, FLOWS.replace("life_days = 7\n", ""))
    (outcome,) = pipeline("flow", "apply", "flows.toml", "--yes", "--json").objects
    assert outcome["flows"][0]["changes"] == [{"name": "windows.life_days", "before": 7, "after": None}]  # type: ignore[index]
    listed = pipeline("flow", "list", "--json").objects
    assert [(one["flow"], one["movement"], one["status"]) for one in listed] == [
        ("crm", 1, "SUCCESS"),
        ("other", None, None),
    ]
    assert "not moved yet" in pipeline("flow", "list").out


def test_settings_of_plug_ins_and_secrets_by_reference(pipeline: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    write(pipeline.directory / "app", KIT.replace('"people.json"', '"../people.json"'))
    monkeypatch.setenv("SOURCE_TOKEN", "first secret")
    monkeypatch.setenv("TARGET_TOKEN", "second secret")
    monkeypatch.chdir(pipeline.directory / "app")  # plug-ins are found from anywhere, their own paths are theirs
    assert pipeline("flow", "apply", "flows.toml", "--yes", "--home", "../home").code == 0
    monkeypatch.chdir(pipeline.directory)
    pipeline("flow", "set", "people", "source_options.path=people.json", "--yes", "--home", "home")
    outcome = pipeline("move", "--flow", "people", "--home", "home")
    assert outcome.code == 0
    assert json.loads(Path("store.json").read_text()) == {"1": "Ada", "2": "Grace"}
    assert Path("tokens").read_text() == "second secret"
    stored = b"".join(path.read_bytes() for path in Path("home").rglob("*") if path.is_file())
    assert b"secret" not in stored
    shown = pipeline("flow", "show", "people", "--home", "home").out
    assert 'token = "env:SOURCE_TOKEN"' in shown
    assert "?" not in shown.splitlines()[1]  # the settings are in their table, not in the URL


def test_a_secret_in_plain_is_refused_and_not_shown(pipeline: CommandLine) -> None:
    write(pipeline.directory / "app", KIT.replace("env:SOURCE_TOKEN", "hunter2"))
    outcome = pipeline("flow", "apply", "app/flows.toml", "--yes")
    assert outcome.code == 2
    assert "is a secret" in outcome.err
    assert "hunter2" not in outcome.err + outcome.out
    assert not Path(".pipeline/store/objects/flows").exists()


def test_all_mistakes_of_a_file_are_named_at_once_with_their_tables(pipeline: CommandLine) -> None:
    write(
        pipeline.directory,
        """
        [flows.typo]
        [flow.one]
        source = 5
        colour = "red"
        requires = "exactly-once"
        files = ["a"]
        [flow.one.windows]
        life_days = "long"
        rerun_days = -1
        [flow.one.stream."a*"]
        group = ""
        include = "maybe"
        [flow.one.group.b]
        depends_on = "a"
        [flow.one.source_options]
        url = [1]
        [flow.one.approvals]
        required = ["everybody"]
        [flow.two]
        source = "app.db"
        destination = "copy.db"
        windows = 5
        [flow.two.group.a]
        depends_on = ["b"]
        [flow.two.group.b]
        depends_on = ["a"]
        """,
    )
    outcome = pipeline("flow", "apply", "flows.toml", "--yes")
    assert outcome.code == 2
    for expected in (
        "flows.toml: there is no table or name 'flows'",
        "flows.toml, [flow.one]: source: 5 is not valid. It must be a text",
        "flows.toml, [flow.one]: there is no name 'colour' here",
        "flows.toml, [flow.one]: requires: 'exactly-once' is not valid",
        "flows.toml, [flow.one]: destination is missing",
        "flows.toml, [flow.one]: files names a source and a destination directory",
        "flows.toml, [flow.one.windows]: life_days: 'long' is not valid. It must be a whole number from 1 to 3,650",
        "flows.toml, [flow.one.windows]: rerun_days: -1 is not valid",
        "flows.toml, [flow.one.stream.\"a*\"]: group: '' is not valid",
        "flows.toml, [flow.one.stream.\"a*\"]: include: 'maybe' is not valid",
        "flows.toml, [flow.one.group.b]: depends_on: the value is not valid. It must be a list of texts",
        "flows.toml, [flow.one.source_options]: url must be a text",
        "flows.toml, [flow.one.approvals]: required:",
        "flows.toml, [flow.two.windows]: this must be a table",
        "the groups depend on each other in a circle: 'a', which depends on 'b', which depends on 'a'",
    ):
        assert expected in outcome.err, expected
    assert not Path(".pipeline").exists()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[flow.crm\nsource = 1", "The file of Flows flows.toml cannot be read"),
        ("", "it declares no Flow"),
        ("flow = 5", "it declares no Flow"),
        ("[flow]\ncrm = 5", "[flow.crm]: this must be a table"),
        ('[flow.""]\nsource = "app.db"\ndestination = "copy.db"', "the name of a Flow is empty"),
    ],
)
def test_a_file_that_declares_nothing_is_an_error(pipeline: CommandLine, text: str, reason: str) -> None:
    write(pipeline.directory, text)
    outcome = pipeline("flow", "apply", "flows.toml", "--yes")
    assert outcome.code == 2
    assert reason in outcome.err
    assert pipeline("flow", "apply", "none.toml", "--yes").code == 2


def test_patterns_labels_and_handlers_that_are_not_there_are_errors_of_the_file(pipeline: CommandLine) -> None:
    broken = FLOWS.replace('"alb*"', '"elb*"').replace('["artist"]', '["singer"]')
    animals = """
        [flow.kit]
        source = "app/app.py:exporter"
        destination = "app/app.py:importer"
        source_options = {path = "people.json"}
        destination_options = {path = "store.json"}
        stream.pets.group = "animals"
    """
    write(pipeline.directory, broken + animals)
    outcome = pipeline("flow", "apply", "flows.toml", "--yes")
    assert outcome.code == 2
    assert outcome.err.replace("pipeline: ", "").splitlines() == [
        'flows.toml, [flow.crm.stream."elb*"]: the pattern matches no stream of the source.',
        "flows.toml, [flow.crm.group.music]: no stream of the source is in this group.",
        "flows.toml, [flow.crm.group.music]: depends_on names the group 'singer', in which no stream of the source is.",
        "flows.toml, [flow.kit.stream.pets]: nobody consumes the group 'animals': the Importer has no handler for 'pets'.",
    ]
    assert not list(Path(".pipeline/store/objects").rglob("flow.json"))


def test_a_source_that_does_not_answer_is_checked_before_data_moves(pipeline: CommandLine) -> None:
    write(pipeline.directory, FLOWS.replace('"app.db"', '"later.db"').replace('"alb*"', '"elb*"'))
    outcome = pipeline("flow", "apply", "flows.toml", "--yes")
    assert outcome.code == 0
    assert "Streams of Flow crm were not checked:" in outcome.err
    Path("app.db").rename("later.db")
    moved = pipeline("move", "--flow", "crm")
    assert moved.code == 2
    assert 'flows.toml, [flow.crm.stream."elb*"]: the pattern matches no stream of the source.' in moved.err
    assert not Path("copy.db").exists() or "artist" not in Path("copy.db").read_bytes().decode("latin-1")


def test_a_flow_that_has_moved_keeps_its_places(pipeline: CommandLine) -> None:
    write(pipeline.directory, FLOWS)
    pipeline("flow", "apply", "flows.toml", "--yes")
    write(pipeline.directory, FLOWS.replace("copy.db", "elsewhere.db"))
    assert pipeline("flow", "apply", "flows.toml", "--yes").code == 0  # nothing was moved yet
    assert pipeline("move", "--flow", "crm").code == 0
    assert contents(Path("elsewhere.db"), "artist") == contents(Path("app.db"), "artist")
    write(pipeline.directory, FLOWS)
    outcome = pipeline("flow", "apply", "flows.toml", "--yes")
    assert outcome.code == 2
    assert "flows.toml, [flow.crm]: destination is sqlite:" in outcome.err
    assert pipeline("flow", "set", "crm", "source=other.db", "--yes").code == 2


def test_set_changes_single_values(pipeline: CommandLine) -> None:
    pipeline("flow", "create", "crm", "app.db", "copy.db")
    values = ("windows.life_days=5", "requires=found", 'stream."log*".include=false', 'approvals.links=["a", "b"]')
    assert pipeline("flow", "set", "crm", *values, "--yes").code == 0
    (shown,) = pipeline("flow", "show", "crm", "--json").objects
    declared = shown["declared"]
    assert isinstance(declared, dict)
    assert declared["windows"] == {"life_days": 5}
    assert (declared["requires"], declared["approvals"]) == ("found", {"links": ["a", "b"]})
    assert declared["stream"] == {"log*": {"include": False}}
    assert pipeline("flow", "set", "crm", "windows.life_days=", "requires=", "--yes").code == 0
    (shown,) = pipeline("flow", "show", "crm", "--json").objects
    assert not {"windows", "requires"} & set(shown["declared"])  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (["life_days"], "is not complete. Write NAME=VALUE"),
        (["windows.life_days=soon"], "[flow.crm.windows]: life_days: 'soon' is not valid"),
        (["windos.life_days=5"], "there is no name 'windos' here"),
        (["stream.a*.group=x"], "is no name of a value"),
        (["source="], "source is missing"),
        (["source.x=1"], "source: {'x': 1} is not valid"),
        (["source.x="], "source: {'x': ''} is not valid"),
    ],
)
def test_a_wrong_value_is_refused_and_nothing_changes(pipeline: CommandLine, values: list[str], reason: str) -> None:
    pipeline("flow", "create", "crm", "app.db", "copy.db")
    before = pipeline("flow", "show", "crm").out
    outcome = pipeline("flow", "set", "crm", "windows.rerun_days=1", *values, "--yes")
    assert outcome.code == 2
    assert reason in outcome.err
    assert pipeline("flow", "show", "crm").out == before
    assert pipeline("flow", "set", "none", "requires=found", "--yes").code == 1


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ('source_options = {colour = "red"}', "has no setting 'colour'. It has: grants, one_file_system"),
        ('source_options = {grants = "perhaps"}', "The option 'grants' of sqlite:"),
        ('destination_options = {grants = "true"}', "has no setting 'grants'. It has: requires"),
    ],
)
def test_options_of_built_in_places_are_checked(pipeline: CommandLine, options: str, reason: str) -> None:
    write(pipeline.directory, f'[flow.crm]\nsource = "app.db"\ndestination = "copy.db"\n{options}\n')
    outcome = pipeline("flow", "apply", "flows.toml", "--yes")
    assert outcome.code == 2
    assert "flows.toml, [flow.crm]: " in outcome.err
    assert reason in outcome.err


def test_a_tree_does_not_reach_the_level_of_a_transaction(pipeline: CommandLine) -> None:
    write(pipeline.directory, '[flow.tree]\nsource = "app/"\ndestination = "copy/"\nrequires = "transaction"\n')
    outcome = pipeline("flow", "apply", "flows.toml", "--yes")
    assert outcome.code == 2
    assert "which has no transactions" in outcome.err
    write(pipeline.directory, '[flow.tree]\nsource = "app/"\ndestination = "copy/"\nrequires = "keyed"\n')
    assert pipeline("flow", "apply", "flows.toml", "--yes").code == 0
    assert pipeline("move", "--flow", "tree").code == 0
    assert Path("copy/app.py").read_bytes() == Path("app/app.py").read_bytes()


def test_a_handler_below_the_required_level_is_refused_when_the_flow_is_made(pipeline: CommandLine) -> None:
    write(
        pipeline.directory / "app", KIT.replace("[flow.people.source", 'requires = "transaction"\n[flow.people.source')
    )
    outcome = pipeline("flow", "apply", "app/flows.toml", "--yes")
    assert outcome.code == 2
    assert "delivers keyed, and the Flow needs transaction" in outcome.err


def test_a_database_and_its_files_are_declared_together(pipeline: CommandLine) -> None:
    write(pipeline.directory, '[flow.all]\nsource = "app.db"\ndestination = "copy.db"\nfiles = ["app", "app-copy"]\n')
    assert pipeline("flow", "apply", "flows.toml", "--yes").code == 0
    assert pipeline("move", "--flow", "all").code == 0
    assert Path("app-copy/app.py").exists()
    assert pipeline("flow", "set", "all", "windows.life_days=3", "--yes").code == 0
    assert pipeline("move", "--flow", "all").code == 0
    assert orjson.loads(pipeline("flow", "show", "all", "--json").out)["declared"]["files"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("move",), "name SOURCE and DESTINATION"),
        (("move", "app.db"), "name SOURCE and DESTINATION"),
        (("move", "--flow", "none"), "There is no"),
        (("move", "--flow", "crm", "--files", "a", "b"), "is moved as it is declared"),
        (("move", "--flow", "second"), "use `pipeline flow import`"),
    ],
)
def test_moving_a_flow_by_name_needs_one_that_is_declared(
    pipeline: CommandLine, arguments: tuple[str, ...], reason: str
) -> None:
    if "none" not in arguments:
        pipeline("move", "app.db", "copy.db", "--flow", "crm")
        pipeline("flow", "add-destination", "crm", "second.db", "--name", "second")
    outcome = pipeline(*arguments)
    assert outcome.code == 2
    assert reason in outcome.err


def test_a_dry_run_of_a_declared_flow_writes_nothing(pipeline: CommandLine) -> None:
    write(pipeline.directory, FLOWS)
    pipeline("flow", "apply", "flows.toml", "--yes")
    (forecast,) = pipeline("move", "--flow", "crm", "--dry-run", "--json").objects
    assert {one["stream"]: one["upserts"] for one in forecast["streams"]} == {"album": 2, "artist": 2}  # type: ignore[attr-defined]
    assert not Path("copy.db").exists()


def test_a_rebuilt_flow_keeps_its_declared_groups(pipeline: CommandLine) -> None:
    write(pipeline.directory, FLOWS)
    pipeline("flow", "apply", "flows.toml", "--yes")
    assert pipeline("move", "--flow", "crm").code == 0
    for path in Path(".pipeline/store/objects/flows/crm/snapshots").rglob("*"):
        if path.is_file():
            path.unlink()
    assert pipeline("rebuild", "crm").code == 0
    change(Path("app.db"), "INSERT INTO album VALUES (3, 1, 'Back in Black')")
    moved = pipeline("move", "--flow", "crm")
    assert moved.code == 0, moved.err
    assert contents(Path("copy.db"), "album") == contents(Path("app.db"), "album")


def test_pruning_keeps_reports_as_long_as_the_flow_declares(pipeline: CommandLine) -> None:
    pipeline("move", "app.db", "copy.db", "--flow", "crm")
    pipeline("move", "app.db", "copy.db", "--flow", "crm")
    assert "progress and failures" not in pipeline("prune", "crm").out
    assert pipeline("flow", "set", "crm", "retention.reports_days=0", "--yes").code == 0
    assert "progress, failures and feedback of Movements that settled long ago" in pipeline("prune", "crm").out
    assert "progress and failures" not in pipeline("prune", "crm", "--keep-days", "1").out


def test_an_export_of_the_platform_is_declared_like_any_place(pipeline: CommandLine) -> None:
    write_file(Path("export"), "people_full_0.ndjson", [{"ID": 1, "NAME": "Ada", "DELETED": False, "TXN_SEQUENCE": 1}])
    text = '[flow.sam]\nsource = "sam:export"\ndestination = "copy.db"\nsource_options = {"key.people" = "ID"}\n'
    write(pipeline.directory, text)
    applied = pipeline("flow", "apply", "flows.toml", "--yes")
    assert applied.code == 0, applied.err
    assert pipeline("move", "--flow", "sam").code == 0
    assert contents(Path("copy.db"), "people")[0][:2] == (1, "Ada")
    write(pipeline.directory, pipeline("flow", "show", "sam").out, "shown.toml")
    assert pipeline("flow", "apply", "shown.toml", "--json").objects[0]["flows"][0]["action"] == "none"  # type: ignore[index]


def test_endpoints_must_exist_and_be_for_the_flow(pipeline: CommandLine) -> None:
    write(pipeline.directory, FLOWS.replace('requires = "transaction"', 'notifications = ["ops", "others"]'))
    pipeline("notify", "add", "others", "sqs://some-queue", "--flow", "other*")
    outcome = pipeline("flow", "apply", "flows.toml", "--yes")
    assert outcome.code == 2
    assert outcome.err.replace("pipeline: ", "").splitlines() == [
        "flows.toml, [flow.crm]: notifications names the endpoint 'ops', which does not exist. Add it with `pipeline notify add`.",
        "flows.toml, [flow.crm]: notifications names the endpoint 'others', which is for other Flows. "
        "Add it for this one as well.",
    ]
    pipeline("notify", "add", "ops", "sqs://some-queue")
    write(pipeline.directory, FLOWS.replace('requires = "transaction"', 'notifications = ["ops"]'))
    assert pipeline("flow", "apply", "flows.toml", "--yes").code == 0
    assert pipeline("check", "crm").code == 0


def test_mistakes_of_every_kind_are_named_at_once(pipeline: CommandLine) -> None:
    write(
        pipeline.directory,
        """
[flow.one]
source = "app.db"
destination = "one.db"
notifications = ["nobody"]

[flow.one.source_options]
nosuch_option = "1"

[flow.one.destination_options]
no_option_either = "1"

[flow.one.stream."nosuch*"]
group = "g"

[flow.one.windows]
life_days = 0

[flow.two]
source = "app.db"
destination = "two.db"

[flow.two.group.a]
depends_on = ["b"]

[flow.two.group.b]
depends_on = ["a"]

[flow.two.limits]
event_file_rows = 10000001
event_file_bytes = 256000001
delete_guard_rows = 1000000001

[flow.three]
destination = "three.db"
notifications = ["none"]
""",
    )
    refused = pipeline("flow", "apply", "flows.toml", "--yes")
    assert refused.code == 2
    for words in (
        "[flow.one.windows]: life_days",
        "nosuch_option",
        "no_option_either",
        "the pattern matches no stream of the source",
        "depend on each other in a circle",
        *(f"[flow.two.limits]: {limit}" for limit in ("event_file_rows", "event_file_bytes", "delete_guard_rows")),
        "no stream of the source is in this group",
        "[flow.three]: source is missing",
        *(f"the endpoint {name!r}, which does not exist" for name in ("nobody", "none")),
    ):
        assert words in refused.err, words
    assert refused.err.count("source is missing") == 1
    assert not (pipeline.directory / ".pipeline").exists()
