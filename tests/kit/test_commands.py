"""Every command works with Flows that have a plug-in at one end or at both."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from textwrap import dedent

import anyio
import pytest

import pipeline as pipeline_api
from tests.cli.app import CommandLine, change, contents, make_database
from tests.kit.plugins import write_plugin

APP = """\
@dataclass
class Settings:
    path: str
    token: Secret = Secret()

@dataclass
class Person:
    id: int
    name: str

exporter = Exporter("people", contract="people/1")
importer = Importer("store", accepts=("people/1", "people/2"))

@exporter.connect
async def connect(settings: Settings) -> AsyncIterator[Path]:
    assert settings.token.reveal() in ("", "very secret")
    yield Path(settings.path)

@exporter.pages("people", row=Person, key="id", order="stable")
async def people(client: Path, after: str | None) -> Page[Person]:
    rows = json.loads(client.read_text())
    at = int(after or 0)
    return Page([Person(**row) for row in rows[at:at + 2]], next=str(at + 2) if at + 2 < len(rows) else None)

importer.connect(connect)

@importer.applies("people", row=Person)
async def apply(target: Path, batch: Batch[Person], ctx: Import) -> None:
    rows = json.loads(target.read_text())
    for record in batch.records:
        if isinstance(record, Upsert):
            rows[str(record.key)] = record.row.name
        else:
            rows.pop(str(record.key), None)
    target.write_text(json.dumps(rows))

other = Exporter("other", contract="other/1")
other.connect(connect)
weak = Importer("weak")

@weak.creates("people", row=Person, delivery="at-least-once")
async def create(target: None, row: Person, ctx: Import) -> str:
    return str(row.id)
"""
ROWS = [(number, f"name {number}") for number in range(5)]


@pytest.fixture
def pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """Runs `pipeline` in a directory that has an app with plug-ins, and a database."""
    monkeypatch.chdir(tmp_path)
    write_plugin(tmp_path / "app.py", APP)
    write_rows(tmp_path, ROWS)
    (tmp_path / "store.json").write_text("{}")
    return CommandLine(tmp_path, capsys)


def write_rows(directory: Path, rows: list[tuple[int, str]]) -> None:
    (directory / "rows.json").write_text(json.dumps([{"id": number, "name": name} for number, name in rows]))


def stored(directory: Path) -> list[tuple[int, str]]:
    return sorted((int(key), name) for key, name in json.loads((directory / "store.json").read_text()).items())


SOURCE = ("--source-set", "path=rows.json")
DESTINATION = ("--destination-set", "path=store.json")


def test_an_app_is_moved_into_a_database_and_compared_with_it(pipeline: CommandLine, tmp_path: Path) -> None:
    assert pipeline("move", "./app.py:exporter", "copy.db", *SOURCE, "--flow", "crm").code == 0
    assert contents(tmp_path / "copy.db") == ROWS
    assert pipeline("verify", "crm").code == 0
    write_rows(tmp_path, [*ROWS[:4], (4, "changed"), (9, "new")])
    assert pipeline("verify", "crm").code == 1
    assert pipeline("move", f"{tmp_path}/app.py:exporter", "copy.db", *SOURCE, "--flow", "crm").code == 0
    assert contents(tmp_path / "copy.db") == [*ROWS[:4], (4, "changed"), (9, "new")]
    shown = pipeline("status", "--flow", "crm")
    assert shown.code == 0
    assert f"python://{tmp_path}/app.py:exporter?path=rows.json" in shown.out
    listed = pipeline("files", "crm")
    assert listed.out.count("incremental") == 1


def test_rows_that_a_database_has_already_are_overwritten_on_request_alone(
    pipeline: CommandLine, tmp_path: Path
) -> None:
    change(tmp_path / "copy.db", "CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT)")
    change(tmp_path / "copy.db", "INSERT INTO people VALUES (2, 'another'), (77, 'more')")
    move = ("move", "./app.py:exporter", "copy.db", *SOURCE, "--flow", "crm")
    refused = pipeline(*move)
    assert refused.code != 0
    assert "people: 1 of 2 ([2])" in refused.err
    assert contents(tmp_path / "copy.db") == [(2, "another"), (77, "more")]
    forecast = pipeline(*move, "--dry-run")
    assert "it cannot be read" not in forecast.out
    assert pipeline(*move, "--overwrite").code == 0
    assert contents(tmp_path / "copy.db") == [*ROWS, (77, "more")]


def test_a_database_is_moved_into_an_app(pipeline: CommandLine, tmp_path: Path) -> None:
    make_database(tmp_path / "app.db", rows=3)
    moved = pipeline("move", "app.db", "./app.py:importer", *DESTINATION, "--flow", "crm")
    assert moved.code == 0, moved.err
    assert [number for number, _ in stored(tmp_path)] == [number for number, *_ in contents(tmp_path / "app.db")]
    again = pipeline("move", "app.db", "./app.py:importer", *DESTINATION, "--flow", "crm", "--json")
    assert json.loads(again.out.splitlines()[-1])["event_files"]["imported"] == 0
    assert pipeline("status").code == 0
    found = pipeline("verify", "crm")
    assert (found.code, "not compared: the Importer 'store' has no dump" in found.out) == (1, True)


def test_an_app_is_moved_into_an_app(pipeline: CommandLine, tmp_path: Path) -> None:
    move = ("move", "./app.py:exporter", "./app.py:importer", *SOURCE, *DESTINATION)
    assert pipeline(*move).code == 0
    assert stored(tmp_path) == ROWS
    write_rows(tmp_path, ROWS[1:])
    assert pipeline(*move).code == 0
    assert stored(tmp_path) == ROWS[1:]


def test_what_an_app_has_given_is_imported_into_a_further_one(pipeline: CommandLine, tmp_path: Path) -> None:
    assert pipeline("move", "./app.py:exporter", "copy.db", *SOURCE, "--flow", "crm").code == 0
    (tmp_path / "rows.json").unlink()  # the source is not opened again
    further = f"python://{tmp_path}/app.py:importer?path=store.json"
    assert pipeline("flow", "add-destination", "crm", further, "--name", "more").code == 0
    assert pipeline("flow", "import", "more").code == 0
    assert stored(tmp_path) == ROWS


def test_a_derived_flow_takes_settings_and_is_compared_with_its_source(pipeline: CommandLine, tmp_path: Path) -> None:
    dump = """
        @importer.dump
        async def dump(target: Path) -> AsyncIterator[tuple[str, Key, dict[str, object]]]:
            for key, name in json.loads(target.read_text()).items():
                yield "people", int(key), {"id": int(key), "name": name}
        """
    write_plugin(tmp_path / "app.py", APP + dedent(dump))
    assert pipeline("move", "./app.py:exporter", "copy.db", *SOURCE, "--flow", "crm").code == 0
    refused = pipeline("flow", "add-destination", "crm", "./app.py:importer", "--name", "more")
    assert "--destination-set path=" in refused.err
    added = pipeline("flow", "add-destination", "crm", "./app.py:importer", "--name", "more", *DESTINATION)
    assert added.code == 0, added.err
    assert pipeline("flow", "import", "more").code == 0
    assert stored(tmp_path) == ROWS
    verified = pipeline("verify", "more")
    assert (verified.code, "EQUAL: " in verified.out) == (0, True), verified.out
    (tmp_path / "store.json").write_text("{}")
    assert "missing" in pipeline("verify", "more").out


@pytest.mark.parametrize("compacted", [False, True])
async def test_workers_move_a_flow_with_plugins(compacted: bool, pipeline: CommandLine, tmp_path: Path) -> None:
    settings = pipeline_api.Settings(home=tmp_path / ".pipeline")
    await pipeline_api.create_flow(
        "crm",
        f"{tmp_path}/app.py:exporter",
        f"{tmp_path}/app.py:importer",
        source_settings={"path": f"{tmp_path}/rows.json"},
        destination_settings={"path": f"{tmp_path}/store.json"},
        settings=settings,
    )
    stop = anyio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: pipeline_api.run_worker(stop=stop, settings=settings))
        for rows in (ROWS, ROWS[2:]):
            write_rows(tmp_path, rows)
            movement, _ = await pipeline_api.start("crm", settings=settings)
            with anyio.fail_after(30):
                settled = await pipeline_api.wait_settled("crm", movement.number, settings=settings)
            assert settled.status is pipeline_api.Status.SUCCESS, settled.problems
            assert stored(tmp_path) == rows
            if compacted:
                await pipeline_api.compact("crm", settings=settings)
                await pipeline_api.prune("crm", delete=True, settings=settings)
        stop.set()


BAD = [
    (("./app.py:exporter", "copy.db"), r"'path' of .*app.py:exporter is missing. Give it with --source-set path=…"),
    (("./app.py:importer", "copy.db"), r"app.py:importer is an Importer \(.*line \d+\), so it cannot be the source"),
    (("app.db", "./app.py:exporter"), r"app.py:exporter is an Exporter .*cannot be the destination"),
    (
        ("./app.py:exporter", "./app.py:weak", *SOURCE),
        r"app.py, line \d+: .*delivers at-least-once, .*needs found.*give it `find`, .*less with --requires at-least-once",
    ),
    (
        ("./app.py:other", "./app.py:importer", "--source-set", "path=x", *DESTINATION),
        r"states the contract 'other/1' .*accepts 'people/1' or 'people/2'",
    ),
    (
        ("./app.py:exporter", "copy.db", *SOURCE, "--source-set", "token=very secret"),
        r"'token' .* is a secret. Give a reference",
    ),
    (("./app.py:exporter", "copy.db", "--source-set", "path"), r"'path' is not complete. Write NAME=VALUE"),
    (
        ("app.db", "copy.db", *SOURCE),
        r"app.db has no setting 'path'. It has: grants, one_file_system",
    ),
    (("./app.py:exporter", "copy.db", *SOURCE, "--files", "a", "b"), r"--files cannot be given with a plug-in"),
    (("./none.py:exporter", "copy.db"), r"There is no file .*none.py"),
    (("./app.py", "copy.db"), r"Name the Exporter or Importer in it: ./app.py:NAME"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD)
def test_what_does_not_fit_is_said_before_anything_is_moved(
    arguments: tuple[str, ...], message: str, pipeline: CommandLine, tmp_path: Path
) -> None:
    outcome = pipeline("move", *arguments)
    assert outcome.code == 2
    assert re.search(message, " ".join(outcome.err.split())), outcome.err
    assert "very secret" not in outcome.err
    assert not (tmp_path / ".pipeline").exists()
    assert not (tmp_path / "copy.db").exists()


INCOMPLETE = [
    ("@half.stages('a', row=Person)  # here\nasync def a(t, f, c): ...", "has no `publish`"),
    ("@half.applies('a', row=Person, delivery='transaction')  # here\nasync def a(t, b, c): ...", "has no transaction"),
    (
        "@half.transaction  # here\nasync def tx(t):\n    yield 1\n"
        "@half.applies('a', row=Person, delivery='transaction')\nasync def a(t, b, c): ...",
        "the transaction has no `read_marks`",
    ),
    ("half = Importer('half')  # here", "has no handler"),
]


@pytest.mark.parametrize(("code", "message"), INCOMPLETE)
def test_an_importer_that_lacks_a_function_is_named_before_anything_is_moved(
    code: str, message: str, pipeline: CommandLine, tmp_path: Path
) -> None:
    path = write_plugin(tmp_path / "half.py", APP + "half = Importer('half')\n" + code)
    line = next(number for number, text in enumerate(path.read_text().splitlines(), 1) if "# here" in text)
    outcome = pipeline("move", "./app.py:exporter", "./half.py:half", *SOURCE)
    assert outcome.code == 2
    assert re.search(f"half.py, line {line}: .*{message}", " ".join(outcome.err.split())), outcome.err


def test_a_weaker_delivery_is_used_where_the_flow_accepts_it(pipeline: CommandLine, tmp_path: Path) -> None:
    ends = ("./app.py:exporter", "./app.py:weak", *SOURCE)
    assert pipeline("move", *ends, "--destination-set", "requires=at-least-once", "--flow", "crm").code == 0
    assert pipeline("move", *ends, "--requires", "at-least-once", "--flow", "crm").code == 0  # the same
    unknown = pipeline("move", *ends, "--requires", "best", "--flow", "other")
    assert (unknown.code, "'best' is not known. It must be one of: transaction, staged" in unknown.err) == (2, True)


def test_a_flow_says_what_it_needs_and_a_weaker_handler_is_refused(pipeline: CommandLine, tmp_path: Path) -> None:
    ends = ("./app.py:exporter", "./app.py:importer", *SOURCE, *DESTINATION)
    refused = pipeline("flow", "create", "crm", *ends, "--requires", "transaction")
    assert refused.code == 2
    told = " ".join(refused.err.split())
    assert re.search(r"app.py, line \d+: the handler of 'people' delivers keyed, and the Flow needs transaction", told)
    assert 'Declare it with @importer.applies and delivery="transaction", or let the Flow accept less' in told
    assert pipeline("flow", "create", "crm", *ends, "--requires", "keyed").code == 0
    shown = json.loads(pipeline("flow", "show", "crm", "--json").out)
    assert "keyed" in json.dumps(shown)


@pytest.mark.parametrize("command", ["start", "move"])
def test_a_handler_that_has_become_weaker_is_refused_when_a_movement_begins(
    command: str, pipeline: CommandLine, tmp_path: Path
) -> None:
    ends = ("./app.py:exporter", "./app.py:importer", *SOURCE, *DESTINATION)
    assert pipeline("flow", "create", "crm", *ends).code == 0
    code = APP.replace(
        '@importer.applies("people", row=Person)', '@importer.creates("people", row=Person, delivery="at-least-once")'
    )
    for name in [name for name in sys.modules if name.startswith("pipeline_plugin_")]:
        del sys.modules[name]
    write_plugin(tmp_path / "app.py", code)
    refused = pipeline("start", "crm") if command == "start" else pipeline("move", "--flow", "crm")
    assert refused.code == 2, refused.out
    assert "delivers at-least-once, and the Flow needs found" in " ".join(refused.err.split())


def test_an_importer_that_takes_no_stream_of_the_exporter_is_refused(pipeline: CommandLine, tmp_path: Path) -> None:
    path = write_plugin(tmp_path / "none.py", APP.replace('applies("people"', 'applies("pets"'))
    refused = pipeline("flow", "create", "crm", "./app.py:exporter", f"{path}:importer", *SOURCE, *DESTINATION)
    assert (refused.code, "no handler for any stream" in " ".join(refused.err.split())) == (2, True)


def test_a_secret_is_neither_stored_nor_shown(
    pipeline: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THE_TOKEN", "very secret")
    move = ("move", "./app.py:exporter", "copy.db", *SOURCE, "--flow", "crm")
    assert pipeline(*move, "--source-set", "token=env:THE_TOKEN").code == 0
    monkeypatch.setenv("PIPELINE_SOURCE_TOKEN", "env:THE_TOKEN")
    assert pipeline(*move).code == 0  # the same Flow: the reference is no part of its places
    for path in (tmp_path / ".pipeline").rglob("*"):
        if path.is_file():
            assert b"very secret" not in path.read_bytes()
            assert b"THE_TOKEN" not in path.read_bytes() or path.name == "flow.json"


@pytest.mark.parametrize("command", ["move", "flow create"])
def test_a_flow_keeps_the_references_to_secrets_that_it_is_made_with(
    command: str, pipeline: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THE_TOKEN", "very secret")
    dump = """
@importer.dump
async def dump(target: Path) -> AsyncIterator[tuple[str, int, dict[str, object]]]:
    for key, name in json.loads(target.read_text()).items():
        yield "people", int(key), {"id": int(key), "name": name}
"""
    write_plugin(tmp_path / "strict.py", APP.replace('in ("", "very secret")', '== "very secret"') + dump)
    tokens = ("--source-set", "token=env:THE_TOKEN", "--destination-set", "token=env:THE_TOKEN", "--requires", "keyed")
    ends = ("./strict.py:exporter", "./strict.py:importer", *SOURCE, *DESTINATION, *tokens)
    made = pipeline("move", *ends, "--flow", "crm") if command == "move" else pipeline("flow", "create", "crm", *ends)
    assert made.code == 0, made.err
    again = pipeline("move", "--flow", "crm")
    assert again.code == 0, again.err
    verified = pipeline("verify", "crm", "--json")
    assert (verified.code, verified.err) == (0, ""), verified.out
    declared = json.loads(pipeline("flow", "show", "crm", "--json").out)
    assert json.dumps(declared).count("env:THE_TOKEN") == 2


@pytest.mark.parametrize(
    ("page", "rows"),
    [("docs/reference/kit.md", [(0, "Ada"), (1, "Grace"), (2, "Edsger")]), ("README.md", [(1, "Ada")])],
)
def test_the_example_of_the_documentation_moves(
    pipeline: CommandLine, tmp_path: Path, page: str, rows: list[tuple[object, ...]]
) -> None:
    text = (Path(__file__).parents[2] / page).read_text()
    (code,) = [code for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "pipeline.kit" in code]
    (tmp_path / "people.py").write_text(code)
    assert pipeline("move", "./people.py:exporter", "copy.db").code == 0
    assert contents(tmp_path / "copy.db") == rows


NUMBERED = """\
importer = Importer("numbered")
OBJECTS = Path(__file__).with_name("objects.json")

@importer.creates("people", row=dict)
async def create(target: None, row: dict[str, object], ctx: Import) -> str:
    objects = json.loads(OBJECTS.read_text())
    objects.append(row["name"])
    OBJECTS.write_text(json.dumps(objects))
    return str(len(objects) - 1)

@create.update
async def update(target: None, id_: str, row: dict[str, object], ctx: Import) -> None:
    objects = json.loads(OBJECTS.read_text())
    objects[int(id_)] = row["name"]
    OBJECTS.write_text(json.dumps(objects))
"""


def test_a_rebuilt_flow_into_an_app_creates_no_object_again(pipeline: CommandLine, tmp_path: Path) -> None:
    write_plugin(tmp_path / "numbered.py", NUMBERED)
    (tmp_path / "objects.json").write_text("[]")
    move = ("move", "./app.py:exporter", "./numbered.py:importer", "--source-set", "path=rows.json", "--flow", "people")
    assert pipeline(*move).code == 0
    for lost in (tmp_path / ".pipeline" / "store" / "objects" / "flows" / "people" / "snapshots").rglob("*"):
        if lost.is_file():
            lost.unlink()
    write_rows(tmp_path, [(0, "changed"), *ROWS[1:], (9, "new")])
    assert "pipeline rebuild" in pipeline(*move).err
    rebuilt = pipeline("rebuild", "people")
    assert (rebuilt.code, "people: moved as a whole: the destination is an app" in rebuilt.out) == (0, True)
    assert pipeline(*move).code == 0
    objects = json.loads((tmp_path / "objects.json").read_text())
    assert objects == ["changed", "name 1", "name 2", "name 3", "name 4", "new"]
