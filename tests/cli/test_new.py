"""`pipeline new` makes projects that pass their own tests and checks, and overwrites nothing."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from pipeline.cli.new_project.project import KINDS
from tests.cli.app import CommandLine, change, contents, process_environment

FILES = {"pyproject.toml", "README.md", "AGENTS.md", "flow.toml", "tests/test_app.py"}


@pytest.fixture
def pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """Runs `pipeline` in an empty directory."""
    monkeypatch.chdir(tmp_path)
    return CommandLine(tmp_path, capsys)


def run(*command: str, cwd: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=cwd,
        env=process_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_new_project_passes_its_own_tests(kind: str, pipeline: CommandLine, tmp_path: Path) -> None:
    made = pipeline("new", kind, "My-tracker")
    assert made.code == 0, made.err
    found = {str(path.relative_to(tmp_path / "My-tracker")) for path in (tmp_path / "My-tracker").rglob("*.*")}
    assert found == {*FILES, "my_tracker/__init__.py", "my_tracker/app.py"}
    assert all(f"My-tracker/{name}\n" in made.out for name in found)
    run("pytest", "-q", "-p", "no:cacheprovider", "--torture-seeds", "10", cwd=tmp_path / "My-tracker")


RULES = "E,F,W,I,RUF,B,UP,SIM,RET,C4,PTH"


@pytest.mark.parametrize("name", ["My-tracker", "x" * 64])
def test_new_projects_have_no_lint_whatever_settings_ruff_has(
    name: str, pipeline: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in KINDS:
        (tmp_path / kind).mkdir()
        monkeypatch.chdir(tmp_path / kind)
        pipeline("new", kind, name)
        for isolated in ((), ("--isolated",)):
            ignored = ("--ignore", "E501") if len(name) == 64 else ()  # the first line of a docstring has the name
            run("ruff", "check", "--no-cache", *isolated, ".", cwd=tmp_path / kind / name)
            run("ruff", "check", "--no-cache", *isolated, "--select", RULES, *ignored, ".", cwd=tmp_path / kind / name)
            run("ruff", "format", "--no-cache", *isolated, "--check", ".", cwd=tmp_path / kind / name)


def test_a_secret_in_a_new_project_may_have_the_default_of_the_reference(pipeline: CommandLine, tmp_path: Path) -> None:
    pipeline("new", "app", "tracker")
    app = tmp_path / "tracker" / "tracker" / "app.py"
    text = app.read_text().replace("    url: str\n", '    url: str\n    key: Secret = Secret("")\n', 1)
    assert "key: Secret" in text
    app.write_text(text)
    run("ruff", "check", "--no-cache", "--select", "RUF009,B008", ".", cwd=tmp_path / "tracker")


def test_new_projects_have_strict_types(pipeline: CommandLine, tmp_path: Path) -> None:
    for kind in KINDS:
        pipeline("new", kind, f"one-{kind}")
        run("mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), cwd=tmp_path / f"one-{kind}")


def test_a_new_plugin_is_installed_by_its_entry_points(
    pipeline: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert pipeline("new", "app", "tracker").code == 0
    project = tomllib.loads((tmp_path / "tracker" / "pyproject.toml").read_text())["project"]
    groups = project["entry-points"]
    for module in [name for name in sys.modules if name.partition(".")[0] == "tracker"]:
        monkeypatch.delitem(sys.modules, module)  # of another test's app of this name
    monkeypatch.syspath_prepend(str(tmp_path / "tracker"))
    metadata = tmp_path / "tracker" / "tracker-0.1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: tracker\nVersion: 0.1.0\n")
    (metadata / "entry_points.txt").write_text(
        "".join(
            f"[{group}]\n{name} = {value}\n" for group, entries in groups.items() for name, value in entries.items()
        )
    )
    for place in ("old", "new"):
        (tmp_path / place).mkdir()
    (tmp_path / "old" / "1.json").write_text('{"id": 1, "title": "Try it"}')
    moved = pipeline("move", "tracker:old", "tracker:new")
    assert moved.code == 0, moved.err
    assert len(list((tmp_path / "new").glob("*.json"))) == 1
    for module in [name for name in sys.modules if name.partition(".")[0] == "tracker"]:
        del sys.modules[module]


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_project_declares_its_flow(
    kind: str, pipeline: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline("new", kind, "tracker")
    monkeypatch.chdir(tmp_path / "tracker")
    for place in ("old", "new"):
        Path(place).mkdir()
    Path("old/1.json").write_text('{"id": 1, "title": "Try it"}')
    change(Path("app.db"), "CREATE TABLE tasks (id INTEGER PRIMARY KEY, title TEXT NOT NULL)")
    change(Path("app.db"), "INSERT INTO tasks VALUES (1, 'Try it')")
    applied = pipeline("flow", "apply", "flow.toml", "--yes")
    assert applied.code == 0, applied.err
    moved = pipeline("move", "--flow", "tracker")
    assert moved.code == 0, moved.err
    assert len(contents(Path("copy.db"), "tasks") if kind == "exporter" else list(Path("new").glob("*.json"))) == 1


def test_json_names_the_files(pipeline: CommandLine) -> None:
    (made,) = pipeline("new", "exporter", "tracker", "--json").objects
    assert made["directory"] == "tracker"
    assert "tracker/tracker/app.py" in made["files"]  # type: ignore[operator]


@pytest.mark.parametrize("what", ["directory", "file", "link"])
def test_nothing_is_overwritten(what: str, pipeline: CommandLine, tmp_path: Path) -> None:
    there = tmp_path / "tracker"
    match what:
        case "directory":
            there.mkdir()
        case "file":
            there.write_text("mine")
        case "link":
            there.symlink_to(tmp_path / "nowhere")
    refused = pipeline("new", "app", "tracker")
    assert refused.code == 2
    assert "There is a file or directory tracker here already." in refused.err
    assert [path.name for path in tmp_path.rglob("*")] == ["tracker"]


def test_what_cannot_be_written_leaves_nothing(
    pipeline: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, text: str) -> None:
        if path.name == "app.py":
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    failed = pipeline("new", "app", "tracker")
    assert failed.code == 1
    assert "No space left on device" in failed.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../tracker", "cannot be the name of a project. It needs a letter at the beginning"),
        ("a/b", "cannot be the name of a project. It needs a letter"),
        ("", "cannot be the name of a project. It needs a letter"),
        ("1st", "cannot be the name of a project. It needs a letter"),
        ("my tracker", "cannot be the name of a project. It needs a letter"),
        ("tracker-", "cannot be the name of a project. It needs a letter"),
        ("x" * 65, "at most 64 in all"),
        ("class", "class is a word or a package of Python here. Choose another name, such as my-class."),
        ("json", "json is a word or a package of Python here"),
        ("pipeline", "pipeline is a word or a package of Python here"),
        ("Click", "click is a word or a package of Python here"),
        ("tests", "tests is a word or a package of Python here"),
    ],
)
def test_a_name_that_is_not_possible_is_explained(
    name: str, message: str, pipeline: CommandLine, tmp_path: Path
) -> None:
    refused = pipeline("new", "exporter", name)
    assert (refused.code, message in refused.err) == (2, True), refused.err
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_kind_names_the_kinds(pipeline: CommandLine) -> None:
    refused = pipeline("new", "target", "tracker")
    assert refused.code == 2
    assert "'exporter', 'importer', 'app'" in refused.err
