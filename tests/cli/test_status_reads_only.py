"""`status`, `files` and `show` read the store, and ask destinations without writing to them."""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import apsw
import pytest

from tests.cli.app import CommandLine, make_database

GROUPS = [{"label": "people", "event_files": 1, "imported": 1}]


@pytest.fixture
def moved(pipeline: CommandLine) -> CommandLine:
    """A Flow `crm` with one Movement."""
    make_database(pipeline.directory / "app.db", rows=10)
    assert pipeline("move", "app.db", "copy.db", "--flow", "crm").code == 0
    return pipeline


def flows(pipeline: CommandLine) -> dict[str, dict[str, Any]]:
    """What `status --json` says of each Flow."""
    outcome = pipeline("status", "--json")
    assert outcome.code == 0
    (document,) = outcome.objects
    return {flow["flow"]: flow for flow in document["flows"]}  # type: ignore[attr-defined]


def redirect(name: str, destination: str) -> None:
    """Let a Flow name another destination, as if it had been moved there."""
    path = Path(".pipeline/store/objects/flows") / name / "flow.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"destination": destination}))


@contextmanager
def silent_server() -> Iterator[int]:
    """A port that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_another_writer_does_not_matter(moved: CommandLine) -> None:
    with closing(apsw.Connection("copy.db")) as writer:  # of the same SQLite, which knows the locks of its process
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("UPDATE people SET age = 0")
        assert flows(moved)["crm"]["groups"] == GROUPS
        assert "yes" in moved("files", "crm").out


def test_a_destination_locked_for_reading_leaves_its_imports_unknown(moved: CommandLine) -> None:
    with closing(apsw.Connection("copy.db")) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        found = flows(moved)["crm"]
        assert found["groups"] == [{"label": "people", "event_files": 1, "imported": None}]
        assert "locked" in found["destination_error"]


def test_nothing_is_created_in_a_destination(moved: CommandLine) -> None:
    Path("empty.db").touch()
    redirect("crm", f"sqlite:///{Path('empty.db').absolute()}")
    assert flows(moved)["crm"]["groups"][0]["imported"] == 0
    assert Path("empty.db").stat().st_size == 0
    redirect("crm", f"file://{Path('nowhere').absolute()}/")
    assert "there is no such directory" in flows(moved)["crm"]["destination_error"]
    assert not Path("nowhere").exists()


def test_a_tree_is_asked_without_writing(pipeline: CommandLine) -> None:
    Path("in").mkdir()
    Path("in/a.txt").write_text("content")
    assert pipeline("move", "in/", "out/", "--flow", "tree").code == 0
    with closing(apsw.Connection("out/.pipeline-import/state.db")) as writer:
        writer.execute("BEGIN IMMEDIATE")
        assert flows(pipeline)["tree"]["groups"] == [{"label": "@files", "event_files": 1, "imported": 1}]


@pytest.mark.parametrize(
    ("destination", "reason"),
    [
        ("docs://host/copy", "docs"),
        ("postgresql://127.0.0.1:1/copy", "does not answer"),
        ("sqlite:////nowhere/copy.db", "there is no such file"),
    ],
)
def test_a_destination_that_cannot_be_asked_is_named_and_hides_no_other_flow(
    moved: CommandLine, destination: str, reason: str
) -> None:
    assert moved("move", "app.db", "other.db", "--flow", "other").code == 0
    redirect("crm", destination)
    found = flows(moved)
    assert reason in found["crm"]["destination_error"]
    assert (found["other"]["groups"], found["other"]["destination_error"]) == (GROUPS, None)
    assert "The destination did not answer: " in moved("status").out
    listed = moved("files", "crm")
    assert (listed.code, "did not answer" in listed.err) == (0, True)
    assert moved("show", "1/people/full/0", "--flow", "crm").code == 0


def test_a_server_that_never_answers_is_waited_for_two_seconds(moved: CommandLine) -> None:
    with silent_server() as port:
        redirect("crm", f"postgresql://127.0.0.1:{port}/copy?connect_timeout=60")
        began = time.monotonic()
        assert flows(moved)["crm"]["destination_error"]
        assert time.monotonic() - began < 20


def test_a_driver_that_is_not_installed_is_named(moved: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    redirect("crm", "postgresql://host/copy")
    for name in [name for name in sys.modules if name.startswith(("psycopg", "pipeline.connectors.postgres"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    assert "pip install 'app-data-pipeline[postgres]'" in flows(moved)["crm"]["destination_error"]


def test_a_flow_that_cannot_be_read_hides_no_other(moved: CommandLine) -> None:
    assert moved("move", "app.db", "other.db", "--flow", "other").code == 0
    Path(".pipeline/store/objects/flows/crm/flow.json").write_bytes(b"not JSON")
    outcome = moved("status")
    assert outcome.code == 1
    assert "other" in outcome.out
    assert "Flow crm cannot be read" in outcome.err
    (document,) = moved("status", "--json").objects
    assert [flow["flow"] for flow in document["flows"]] == ["other"]  # type: ignore[attr-defined]
    assert [flow["flow"] for flow in document["unreadable"]] == ["crm"]  # type: ignore[attr-defined]
    assert moved("show", "1/people/full/0", "--flow", "other").code == 0
