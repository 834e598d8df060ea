"""`pipeline flow remove`: what it says, what it deletes, and what stays."""

from __future__ import annotations

import io
from pathlib import Path

import anyio
import pytest

from pipeline.assembly.commands.declared.remove import remove_flow
from pipeline.assembly.runtime import open_runtime
from pipeline.domain.ids import FlowName
from pipeline.domain.movement import Status
from pipeline.engine.movements.lifecycle import begin_movement
from pipeline.settings import Settings
from pipeline.stores.directory.object_store import DirectoryObjectStore
from tests.cli.app import CommandLine, contents

STORE = Path(".pipeline/store/objects/flows")


def test_a_removal_names_what_stays_at_the_destination(pipeline: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline("move", "app.db", "copy.db", "--flow", "crm")
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    asked = pipeline("flow", "remove", "crm")
    assert asked.code == 1
    assert "the rows and files of 3 streams, and 3 marks" in asked.out
    assert "  artist" in asked.out
    assert "Nothing was removed" in asked.out
    assert pipeline("flow", "show", "crm").code == 0
    outcome = pipeline("flow", "remove", "crm", "--yes", "--json")
    assert outcome.code == 0
    (removal,) = outcome.objects
    assert removal["removed"] is True
    assert removal["left_at_destination"]["streams"] == ["album", "artist", "log_2025"]  # type: ignore[index]
    assert removal["deleted_from_store"]["events"]["objects"] == 3  # type: ignore[index]
    assert not STORE.exists() or not list(STORE.rglob("*"))
    assert contents(Path("copy.db"), "artist") == contents(Path("app.db"), "artist")
    assert pipeline("flow", "remove", "crm", "--yes").code == 1
    assert pipeline("flow", "list").out == "There is no Flow yet.\n"
    assert pipeline("move", "app.db", "copy.db", "--flow", "crm").code == 0  # a new Flow of the same name


def test_a_destination_that_does_not_answer_is_said_and_no_obstacle(pipeline: CommandLine) -> None:
    pipeline("move", "app.db", "copy.db", "--flow", "crm")
    Path("copy.db").unlink()
    outcome = pipeline("flow", "remove", "crm", "--yes")
    assert outcome.code == 0
    assert "unknown, since it did not answer" in outcome.out


def test_the_id_map_of_an_app_goes_with_the_flow_and_that_is_said(pipeline: CommandLine) -> None:
    places = ("app/app.py:exporter", "app/app.py:importer")
    paths = ("--source-set", "path=people.json", "--destination-set", "path=store.json", "--accept-missing", "stream")
    assert pipeline("move", *places, *paths, "--flow", "people").code == 0
    assert "the id map of the app" in pipeline("flow", "remove", "people", "--yes").out


def test_a_flow_in_use_is_not_removed(pipeline: CommandLine) -> None:
    pipeline("move", "app.db", "copy.db", "--flow", "crm")
    pipeline("flow", "add-destination", "crm", "second.db", "--name", "second")
    outcome = pipeline("flow", "remove", "crm", "--yes")
    assert outcome.code == 2
    assert "is imported by 'second' as well" in outcome.err
    assert pipeline("flow", "remove", "second", "--yes").code == 0

    async def begin() -> None:
        async with open_runtime(Settings()) as runtime:
            await begin_movement(runtime.flows, await runtime.flows.read_flow(FlowName("crm")))

    anyio.run(begin)
    outcome = pipeline("flow", "remove", "crm", "--yes")
    assert outcome.code == 2
    assert "Movement 2 of Flow 'crm' is IN_PROGRESS" in outcome.err
    assert pipeline("move", "app.db", "copy.db", "--flow", "crm").code == 0


def test_an_interrupted_removal_is_carried_on_and_no_movement_begins_meanwhile(
    pipeline: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline("move", "app.db", "copy.db", "--flow", "crm")
    delete = DirectoryObjectStore.delete
    deleted: list[str] = []

    async def dying(self: DirectoryObjectStore, key: str) -> None:
        if len(deleted) == 5:
            raise KeyboardInterrupt
        deleted.append(key)
        await delete(self, key)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(DirectoryObjectStore, "delete", dying)
        with pytest.raises(KeyboardInterrupt):
            anyio.run(lambda: remove_flow("crm", lambda removal: True, settings=Settings()))
    moved = pipeline("move", "app.db", "copy.db", "--flow", "crm")
    assert moved.code != 0
    assert pipeline("flow", "remove", "crm", "--yes").code == 0
    assert not STORE.exists() or not list(STORE.rglob("*"))
    assert Status.SUCCESS.value in pipeline("move", "app.db", "copy.db", "--flow", "crm").out
