"""The public interface at work: what the documentation shows, and objects in place of URLs."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import pipeline
from pipeline.connectors.sqlite import SqliteDestination, SqliteSource
from tests.cli.app import contents, make_database, process_environment

ROOT = Path(__file__).parents[1]
EXAMPLES = [
    pytest.param(code, id=f"{page.name}-{number}")
    for page in (ROOT / "README.md", ROOT / "docs" / "reference" / "python.md")
    for number, code in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL))
    if "pipeline.kit" not in code  # tests/kit/test_commands.py
]


class Contacts:
    """A database as an object of a program's own."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.location = f"contacts:{path.name}"

    @asynccontextmanager
    async def open_snapshot(self) -> AsyncIterator[pipeline.Snapshot]:
        async with SqliteSource(self._path).open_snapshot() as snapshot:
            yield snapshot

    @asynccontextmanager
    async def open(self, flow: pipeline.FlowName) -> AsyncIterator[pipeline.DestinationSession]:
        async with SqliteDestination(self._path).open(flow) as session:
            yield session


@pytest.mark.parametrize("code", EXAMPLES)
def test_an_example_of_the_documentation_runs(code: str, tmp_path: Path) -> None:
    make_database(tmp_path / "app.db")
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=process_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert contents(tmp_path / "copy.db") == contents(tmp_path / "app.db")


def test_every_public_function_is_documented() -> None:
    page = (ROOT / "docs" / "reference" / "python.md").read_text()
    for name in pipeline.__all__:
        if callable(getattr(pipeline, name)) and name.islower():
            assert f"`{name}(" in page, name


async def test_objects_take_the_place_of_urls(tmp_path: Path) -> None:
    settings = pipeline.Settings(home=tmp_path / "home")
    source, destination = Contacts(make_database(tmp_path / "app.db")), Contacts(tmp_path / "copy.db")
    for upserts in (100, 0):
        movement = await pipeline.move(source, destination, settings=settings)
        assert (movement.status, movement.totals.files_exported) == ("SUCCESS", int(upserts > 0))
    (flow,) = await pipeline.flows(settings=settings)
    assert (flow.source, flow.destination) == ("contacts:app.db", "contacts:copy.db")
    found = await pipeline.verify(flow.name, source=source, destination=destination, settings=settings)
    assert found.equal
    with pytest.raises(pipeline.ConfigurationError, match=r"connects contacts:app\.db, not contacts:copy\.db"):
        await pipeline.verify(flow.name, source=destination, destination=destination, settings=settings)


async def test_an_object_and_a_url_go_together(tmp_path: Path) -> None:
    settings = pipeline.Settings(home=tmp_path / "home")
    make_database(tmp_path / "app.db")
    await pipeline.move(tmp_path / "app.db", Contacts(tmp_path / "copy.db"), flow="crm", settings=settings)
    movement = await pipeline.move(Contacts(tmp_path / "copy.db"), tmp_path / "new.db", flow="back", settings=settings)
    assert movement.status is pipeline.Status.SUCCESS
    assert contents(tmp_path / "new.db") == contents(tmp_path / "app.db")


async def test_status_of_a_flow_between_objects_says_why_it_cannot_ask(tmp_path: Path) -> None:
    settings = pipeline.Settings(home=tmp_path / "home")
    make_database(tmp_path / "app.db")
    await pipeline.move(tmp_path / "app.db", Contacts(tmp_path / "copy.db"), flow="crm", settings=settings)
    (found,) = await pipeline.status(settings=settings)
    assert isinstance(found, pipeline.FlowStatus)
    assert "'contacts:copy.db' is no URL, but an object of a program" in found.imports_unknown_because


async def test_a_program_does_what_the_command_line_does_in_the_life_of_a_flow(tmp_path: Path) -> None:
    settings = pipeline.Settings(home=tmp_path / "home")
    make_database(tmp_path / "app.db")
    (tmp_path / "flows.toml").write_text(
        '[flow.crm]\nsource = "app.db"\ndestination = "copy.db"\n[flow.crm.approvals]\nrequired = ["source"]\n'
    )
    (change,) = await pipeline.apply_flows(tmp_path / "flows.toml", settings=settings)
    assert change.kind == "create"
    with pytest.raises(pipeline.RefusedError, match="needs the approval"):
        await pipeline.move(flow="crm", settings=settings)
    with pytest.raises(pipeline.ConfigurationError, match="'left' is no side"):
        await pipeline.approve("crm", "left", "ada", settings=settings)
    approval = await pipeline.approve("crm", "source", "ada", settings=settings)
    assert approval is not None
    assert approval.by == "ada"
    assert (await pipeline.check(flow="crm", settings=settings)).verdict is not pipeline.Severity.BLOCKS
    assert (await pipeline.move(flow="crm", settings=settings)).status is pipeline.Status.SUCCESS
    assert await pipeline.rejected("crm", settings=settings) == []
    for refused in (pipeline.rerun, pipeline.retry, pipeline.pause, pipeline.resume, pipeline.stop):
        with pytest.raises(pipeline.ConfigurationError, match="Flow 'crm'"):
            await refused("crm", settings=settings)
    stream = (await pipeline.status("crm", settings=settings))[0]
    assert isinstance(stream, pipeline.FlowStatus)
    moved = await pipeline.reload("crm", stream.groups[0].label, settings=settings)
    assert (moved.number, moved.status) == (2, pipeline.Status.SUCCESS)
    assert (await pipeline.set_flow("crm", ["windows.life_days=7"], settings=settings)).kind == "change"
    (await pipeline.start("crm", settings=settings))
    paused = await pipeline.pause("crm", reason="night", who="ada", settings=settings)
    assert (paused.state.status, paused.movement.wish.why) == (pipeline.Status.PAUSED, "night")
    _, stopped = await pipeline.revoke("crm", "source", "ada", "enough", settings=settings)
    assert stopped
    events = (await pipeline.history("crm", 3, settings=settings)).events
    assert events[-1].type is pipeline.EventType.MOVEMENT_SETTLED
    assert events[-1].data["status"] == "CANCELLED"
    assert (await pipeline.remove_flow("crm", settings=settings)).removed
    assert await pipeline.flows(settings=settings) == []
