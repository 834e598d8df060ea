"""What the context of an import knows of the Movement."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.domain.ids import FlowName, Label, StreamName
from pipeline.domain.schema import Column, StreamSchema
from pipeline.kit import Batch, Import, Importer
from pipeline.kit.loading.destination import ImporterDestination
from pipeline.ports.destination import Loaded
from pipeline.testing.simulated.object_store import MemoryObjectStore
from tests.cli.app import CommandLine, make_database
from tests.contracts.destination import file_to_load
from tests.kit.plugins import write_plugin


async def test_the_context_knows_the_movement_and_what_is_wished_of_it() -> None:
    told: list[tuple[str, bool]] = []
    seen: list[tuple[int, int | None, bool]] = []
    importer = Importer("app")

    @importer.applies("things", row=dict)
    async def apply(target: None, batch: Batch[dict[str, object]], ctx: Import) -> None:
        async with ctx.busy("a bulk job"):
            seen.append((ctx.epoch, ctx.original_movement, ctx.stopping))

    store = MemoryObjectStore()
    line = b'{"upsert":{"id":1,"name":"x"}}\n'
    schema = StreamSchema(
        StreamName("things"), Label("things"), (Column("id", "integer"), Column("name", "text")), ("id",)
    )
    file = replace(
        file_to_load(schema, [line], movement=7),
        original_movement=3,
        stopping=lambda: True,
        note_busy=lambda text, is_over: told.append((text, is_over)),
    )
    async with ImporterDestination("app:here", importer, None, store).open(
        FlowName("crm 2026-01-01T00:00:00+00:00")
    ) as session:
        assert isinstance(await session.load(file, after=()), Loaded)
        first = await session.load(replace(file_to_load(schema, [line], movement=7, chunk=1)), after=())
        assert isinstance(first, Loaded)
    assert seen == [(7, 3, True), (7, None, False)]
    assert told == [("a bulk job", False), ("a bulk job", True)]


LOGGING = """\
@dataclass
class Settings:
    token: Secret = Secret()

importer = Importer("logging")

@importer.connect
async def connect(settings: Settings) -> AsyncIterator[str]:
    yield settings.token.reveal()

@importer.applies("people", row=dict)
async def apply(token: str, batch: Batch[dict], ctx: Import) -> None:
    ctx.log.debug("too detailed")
    ctx.log.bind(bound=token).info("hello %s", token, header={"Authorization": [f"Bearer {token}"]}, path=Path(token))
    ctx.log.critical("import_done", count=3)
    try:
        raise ValueError(token)
    except ValueError:
        ctx.log.exception("failed")
"""


@pytest.fixture
def logging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """Runs `pipeline` in a directory that has a database, and an Importer whose handler logs a secret."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("THE_TOKEN", "very secret")
    monkeypatch.setenv("PIPELINE_LOG_LEVEL", "info")
    write_plugin(tmp_path / "logging_app.py", LOGGING)
    make_database(tmp_path / "app.db", rows=1)
    return CommandLine(tmp_path, capsys)


MOVE = ("move", "app.db", "./logging_app.py:importer", "--destination-set", "token=env:THE_TOKEN", "--json")


def test_what_a_handler_logs_is_on_standard_error_without_secrets(
    logging: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIPELINE_LOG_FORMAT", "json")
    moved = logging(*MOVE)
    assert (moved.code, [one["status"] for one in moved.objects]) == (0, ["SUCCESS"])
    events = [json.loads(line) for line in moved.err.splitlines()]
    hello, done, failed = (event for event in events if "event_file" in event)
    assert (hello["event"], hello["level"], hello["bound"]) == ("hello ***", "info", "***")
    assert (hello["header"], "***" in hello["path"]) == ({"Authorization": ["Bearer ***"]}, True)
    assert (done["event"], done["level"], done["count"]) == ("import_done", "error", 3)
    assert "ValueError: ***" in failed["exception"]
    assert "very secret" not in moved.err


def test_what_a_handler_logs_has_the_form_and_the_level_of_the_pipelines_log(
    logging: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = logging(*MOVE)
    assert [one["status"] for one in moved.objects] == ["SUCCESS"]
    assert re.search(r"\[info +\] hello \*\*\* ", moved.err)
    assert "ValueError: ***" in moved.err
    monkeypatch.setenv("PIPELINE_LOG_LEVEL", "error")
    quiet = logging(*MOVE, "--flow", "quiet")
    assert ("hello" in quiet.err, "import_done" in quiet.err, "very secret" in quiet.err) == (False, True, False)
