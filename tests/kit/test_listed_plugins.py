"""Plug-ins that the settings list are found by their names, also by workers whose files lie elsewhere."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

import pipeline as pipeline_api
from pipeline.kit.places.reference import list_plugins
from pipeline.settings import load_settings
from tests.cli.app import CommandLine, contents, make_database
from tests.kit.plugins import write_plugin

CODE = """\
@dataclass
class Settings:
    url: str
    token: Secret = Secret()

@dataclass
class Person:
    id: int
    name: str

exporter = Exporter("people", contract="people/1")
importer = Importer("people-cloud", accepts="people/1")

@exporter.connect
@importer.connect
async def connect(settings: Settings) -> AsyncIterator[Path]:
    assert settings.token.reveal() in ("", "very secret")
    yield Path(settings.url)

@exporter.rows("people", row=Person, key="id", ordered=True)
async def people(client: Path) -> AsyncIterator[Person]:
    for number, name in enumerate(client.read_text().split()):
        yield Person(number, name)

@importer.applies("people", row=Person)
async def apply(target: Path, batch: Batch[Person], ctx: Import) -> None:
    names = dict(json.loads(target.read_text())) if target.exists() else {}
    for record in batch.records:
        names.pop(str(record.key), None)
        if isinstance(record, Upsert):
            names[str(record.key)] = record.row.name
    target.write_text(json.dumps(names))
"""
LISTED = 'plugins = ["./people.py:exporter", "./people.py:importer"]\n'


@pytest.fixture(autouse=True)
def _none_is_listed_afterwards() -> Iterator[None]:
    yield
    list_plugins(())


@pytest.fixture
def pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """Runs `pipeline` in a directory that has no plug-in: it is beside its settings, in `machine`."""
    monkeypatch.chdir(tmp_path)
    prepare(tmp_path / "machine")
    (tmp_path / "names.txt").write_text("Ada Grace")
    return CommandLine(tmp_path, capsys)


def prepare(machine: Path) -> Path:
    """Make a directory with the plug-in, and the settings that list it; return the settings."""
    machine.mkdir()
    write_plugin(machine / "people.py", CODE)
    (machine / "settings.toml").write_text(LISTED)
    return machine / "settings.toml"


CONFIG = ("--config", "machine/settings.toml")


def test_a_listed_plugin_is_found_by_its_name(pipeline: CommandLine, tmp_path: Path) -> None:
    moved = pipeline("move", "people:names.txt", "copy.db", *CONFIG, "--flow", "crm")
    assert moved.code == 0, moved.err
    assert contents(tmp_path / "copy.db") == [(0, "Ada"), (1, "Grace")]
    assert "python://people?url=names.txt" in pipeline("status", "--flow", "crm", *CONFIG).out
    without = pipeline("move", "people:names.txt", "copy.db")
    assert without.code == 2
    assert "neither a file people:names.txt, nor an Exporter people that is installed or in the setting" in without.err


def test_a_place_that_looks_like_a_listed_plugin_is_none(pipeline: CommandLine, tmp_path: Path) -> None:
    make_database(tmp_path / "other:app.db", rows=2)
    assert pipeline("move", "other:app.db", "copy.db", *CONFIG).code == 0
    assert len(contents(tmp_path / "copy.db")) == 2


async def test_workers_find_plugins_that_lie_elsewhere(
    pipeline: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = load_settings(tmp_path / "machine" / "settings.toml")
    await pipeline_api.create_flow(
        "crm", f"people:{tmp_path}/names.txt", f"people-cloud:{tmp_path}/cloud.json", settings=here
    )
    there = load_settings(prepare(tmp_path / "elsewhere"))
    (tmp_path / "machine" / "people.py").unlink()
    monkeypatch.setenv("THE_TOKEN", "very secret")
    monkeypatch.setenv("PIPELINE_SOURCE_TOKEN", "env:THE_TOKEN")
    stop = anyio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: pipeline_api.run_worker(stop=stop, settings=there))
        movement, _ = await pipeline_api.start("crm", settings=there)
        with anyio.fail_after(30):
            settled = await pipeline_api.wait_settled("crm", movement.number, settings=there)
        stop.set()
    assert settled.status is pipeline_api.Status.SUCCESS, settled.problems
    assert json.loads((tmp_path / "cloud.json").read_text()) == {"0": "Ada", "1": "Grace"}


def test_listed_plugins_are_shown_and_a_broken_one_hides_no_other(pipeline: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "machine" / "broken.py").write_text("import no_such_module\n")
    settings = tmp_path / "machine" / "settings.toml"
    settings.write_text('plugins = ["./broken.py:exporter", "./people.py:exporter", "./people.py:importer"]\n')
    listed = pipeline("apps", "--json", *CONFIG)
    assert listed.code == 1
    apps = {(app["role"], app["name"]): app for app in listed.objects}
    assert apps["Exporter", "people"]["streams"] == {"people": "rows"}
    assert apps["Importer", "people-cloud"]["contracts"] == ["people/1"]
    (broken,) = [app for app in apps.values() if app["error"]]
    assert "broken.py:exporter cannot be imported: ModuleNotFoundError" in str(broken["error"])
    assert pipeline("move", "people:names.txt", "copy.db", *CONFIG).code == 0
    unknown = pipeline("move", "perhaps:names.txt", "copy.db", *CONFIG)
    assert unknown.code == 2
    assert "broken.py, line 1" in unknown.err
    assert "'perhaps'" in unknown.err


@pytest.mark.parametrize("place", ["people:https://me:hunter2@old", "people:"])
def test_a_password_in_a_url_is_neither_stored_nor_shown(
    place: str, pipeline: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIPELINE_SOURCE_URL", "https://me:hunter2@old")
    outcome = pipeline("move", place, "copy.db", *CONFIG)
    assert outcome.code == 2
    assert "'url' of people is a URL with a password, which the Flow would store." in outcome.err
    assert "hunter2" not in outcome.err + outcome.out
    assert not (tmp_path / ".pipeline").exists()


def test_two_listed_plugins_of_one_name_are_refused_with_both_lines(pipeline: CommandLine, tmp_path: Path) -> None:
    write_plugin(tmp_path / "machine" / "other.py", CODE)
    (tmp_path / "machine" / "settings.toml").write_text(LISTED.replace('"./p', '"./other.py:exporter", "./p', 1))
    moved = pipeline("move", "people:names.txt", "copy.db", *CONFIG)
    assert moved.code == 2
    assert re.search(
        r"lists several of the name 'people': .*other.py, line \d+ and .*people.py, line \d+\. Leave", moved.err
    )
