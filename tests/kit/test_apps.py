"""`pipeline apps` lists what is installed, and installed plug-ins are found by name."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.cli.app import CommandLine, contents
from tests.kit.plugins import write_plugin

CODE = """\
@dataclass
class Settings:
    url: str

exporter = Exporter("tracker", contract="tracker/1")
importer = Importer("cloud", accepts=("tracker/1", "tracker/2"))

@exporter.connect
async def connect(settings: Settings) -> AsyncIterator[str]:
    yield settings.url

@exporter.rows("people", row=dict, columns={"id": int, "name": str}, key="id")
async def people(client: str) -> AsyncIterator[dict[str, object]]:
    yield {"id": 1, "name": client}

@importer.applies("people", row=dict)
async def apply(target: None, batch: Batch[dict[str, object]], ctx: Import) -> None: ...
"""
ENTRIES = """\
[app_data_pipeline.exporters]
tracker-app = tracker_plugin:exporter
broken = tracker_plugin:no_such_name
wrong = tracker_plugin:importer

[app_data_pipeline.importers]
tracker-cloud = tracker_plugin:importer
"""


def install(packages: Path, name: str, version: str, entries: str) -> None:
    """Install a distribution that has entry points alone."""
    metadata = packages / f"{name.replace('-', '_')}-{version}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (metadata / "entry_points.txt").write_text(entries)


@pytest.fixture
def pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """Runs `pipeline` where a distribution with plug-ins is installed."""
    packages = tmp_path / "packages"
    packages.mkdir()
    install(packages, "tracker-plugin", "1.2", ENTRIES)
    write_plugin(packages / "tracker_plugin.py", CODE)
    monkeypatch.syspath_prepend(str(packages))
    monkeypatch.delitem(sys.modules, "tracker_plugin", raising=False)
    monkeypatch.chdir(tmp_path)
    return CommandLine(tmp_path, capsys)


def test_installed_plugins_are_listed_and_a_broken_one_hides_no_other(pipeline: CommandLine) -> None:
    listed = pipeline("apps", "--json")
    apps = {(app["role"], app["name"]): app for app in map(json.loads, listed.out.splitlines())}
    assert listed.code == 1
    assert apps["Exporter", "tracker-app"]["streams"] == {"people": "rows"}
    assert apps["Exporter", "tracker-app"]["contracts"] == ["tracker/1"]
    assert apps["Exporter", "tracker-app"]["version"] == "1.2"
    assert apps["Importer", "tracker-cloud"]["streams"] == {"people": "keyed"}
    assert "cannot be imported: AttributeError" in apps["Exporter", "broken"]["error"]
    assert "is no Exporter, but of the type Importer" in apps["Exporter", "wrong"]["error"]
    shown = pipeline("apps").out
    assert "Importer tracker-cloud 1.2, tracker/1 or tracker/2\n  people: keyed\n" in shown


def test_an_installed_plugin_is_found_by_its_name(pipeline: CommandLine, tmp_path: Path) -> None:
    assert pipeline("move", "tracker-app:https://old", "copy.db").code == 0
    assert contents(tmp_path / "copy.db") == [(1, "https://old")]
    assert pipeline("move", "tracker-app:https://old", "tracker-cloud:").code == 0
    unknown = pipeline("move", "tracker-ap:https://old", "copy.db")
    assert (unknown.code, "no installed Exporter or Importer 'tracker-ap'" in unknown.err) == (2, True)


def test_a_name_that_two_packages_have_is_refused_with_both(pipeline: CommandLine, tmp_path: Path) -> None:
    install(tmp_path / "packages", "other-plugin", "3.0", ENTRIES.replace("tracker_plugin:importer", "other:importer"))
    moved = pipeline("move", "tracker-app:https://old", "copy.db")
    assert (moved.code, (tmp_path / "copy.db").exists()) == (2, False)
    assert "Several installed packages have an Exporter 'tracker-app': " in moved.err
    assert {"tracker-plugin 1.2", "other-plugin 3.0"} == set(
        moved.err.split("'tracker-app': ")[1].split(". Un")[0].split(" and ")
    )
    assert "an Importer 'tracker-cloud'" in pipeline("move", "tracker_plugin:exporter", "tracker-cloud:").err
    listed = pipeline("apps", "--json")
    errors = [app["error"] for app in listed.objects if app["name"] == "tracker-cloud"]
    assert (listed.code, len(errors), set(errors)) == (1, 2, {errors[0]})
    assert "tracker-plugin 1.2" in str(errors[0])
