"""Commands keep, compare and forget the contents of Binary fields as they do rows."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

import pipeline as pipeline_api
from pipeline.domain.ids import BinaryId, FlowName, StreamName
from pipeline.kit.reading.contents import versions as content_versions
from pipeline.kit.reading.contents.versions import ContentVersions
from pipeline.testing.simulated.object_store import MemoryObjectStore
from tests.cli.app import CommandLine, change, contents, process_environment
from tests.kit.killing import Killer
from tests.kit.plugins import write_plugin

APP = """\
@dataclass
class Settings:
    path: str

@dataclass
class File:
    id: int
    content: Binary

exporter, importer = Exporter("uploads"), Importer("uploads")

@exporter.connect
async def connect(settings: Settings) -> AsyncIterator[Path]:
    yield Path(settings.path)

@exporter.pages("files", row=File, key="id", order="stable")
async def files(client: Path, after: str | None) -> Page[File]:
    rows, at = json.loads((client / "rows.json").read_text()), int(after or 0)
    def read(number: str, version: str):
        async def pieces() -> AsyncIterator[bytes]:
            with (client / "read.txt").open("a") as log:
                log.write(f"{number}.{version}\\n")
            yield f"content {number} {version} ".encode() * 20
        return pieces
    page = list(rows.items())[at:at + 20]
    return Page(
        [File(int(number), Binary(read(number, version), version=version)) for number, version in page],
        next=str(at + 20) if at + 20 < len(rows) else None,
    )

importer.connect(connect)

@importer.applies("files", row=File)
async def apply(target: Path, batch: Batch[File], ctx: Import) -> None:
    target.mkdir(exist_ok=True)
    for record in batch.records:
        if isinstance(record, Upsert):
            async with ctx.binary(record.row.content) as pieces:
                (target / str(record.key)).write_bytes(b"".join([piece async for piece in pieces]))
        else:
            (target / str(record.key)).unlink(missing_ok=True)
"""
Versions = dict[int, str]


@pytest.fixture
def pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """Runs `pipeline` in a directory with an app that has 100 files."""
    monkeypatch.chdir(tmp_path)
    write_plugin(tmp_path / "app.py", APP)
    write(tmp_path, dict.fromkeys(range(100), "1"))
    return CommandLine(tmp_path, capsys)


def write(directory: Path, versions: Versions) -> None:
    (directory / "rows.json").write_text(json.dumps(versions))


def wanted(versions: Versions) -> list[tuple[int, bytes]]:
    return [(number, f"content {number} {version} ".encode() * 20) for number, version in versions.items()]


def read_since(directory: Path) -> list[str]:
    """Return the contents that were read since the last call."""
    path = directory / "read.txt"
    lines = path.read_text().splitlines() if path.exists() else []
    path.write_text("")
    return lines


MOVE = ("move", "./app.py:exporter", "copy.db", "--source-set", "path=.", "--flow", "crm")


def test_verify_compares_contents(pipeline: CommandLine, tmp_path: Path) -> None:
    assert pipeline(*MOVE).code == 0
    verified = pipeline("verify", "crm")
    assert (verified.code, "the rows of 1 table" in verified.out) == (0, True), verified.out
    change(tmp_path / "copy.db", "UPDATE files SET content = 'damaged' WHERE id = 7")
    found = pipeline("verify", "crm", "--json")
    assert found.code == 1
    assert '"content"' in found.out
    write(tmp_path, {**dict.fromkeys(range(100), "1"), 9: "2"})
    assert pipeline("verify", "crm", "--repair").code in (0, 1)
    assert pipeline("verify", "crm").code == 0
    assert contents(tmp_path / "copy.db", "files") == wanted({**dict.fromkeys(range(100), "1"), 9: "2"})


def test_the_summary_counts_the_binary_files_that_a_database_has_got(pipeline: CommandLine) -> None:
    moved = pipeline(*MOVE, "--json").objects[-1]
    assert moved["binary_files"] == {"stored": 100, "reused": 0, "imported": 100, "failed": 0}


def test_the_summary_counts_the_binary_files_that_a_handler_has_opened(pipeline: CommandLine, tmp_path: Path) -> None:
    write(tmp_path, dict.fromkeys(range(31), "1"))
    app = (tmp_path / "app.py").read_text()
    opens = "            async with ctx.binary(record.row.content) as pieces:\n"
    guard = "            if record.key == 7:\n                continue\n"
    (tmp_path / "app.py").write_text(app.replace(opens, guard + opens))
    move = (
        "move",
        "./app.py:exporter",
        "./app.py:importer",
        "--source-set",
        "path=.",
        "--destination-set",
        "path=there",
    )
    moved = pipeline(*move, "--flow", "crm", "--json").objects[-1]
    assert moved["binary_files"] == {"stored": 31, "reused": 0, "imported": 30, "failed": 0}
    write(tmp_path, {**dict.fromkeys(range(31), "1"), 3: "2"})
    again = pipeline(*move, "--flow", "crm", "--json").objects[-1]
    assert again["binary_files"] == {"stored": 1, "reused": 0, "imported": 1, "failed": 0}


def test_compact_and_prune_keep_what_rows_name_and_no_more(pipeline: CommandLine, tmp_path: Path) -> None:
    assert pipeline(*MOVE).code == 0
    assert len(read_since(tmp_path)) == 100
    versions = {**dict.fromkeys(range(50), "1"), 3: "2", 60: "1"}
    write(tmp_path, versions)
    assert pipeline(*MOVE, "--allow-deletes", "files").code == 0
    assert read_since(tmp_path) == ["3.2"]
    assert pipeline("compact", "crm").code == 0
    before = stored(tmp_path)
    assert pipeline("prune", "crm", "--yes").code == 0
    assert stored(tmp_path) < before
    read_since(tmp_path)
    assert pipeline(*MOVE).code == 0
    assert read_since(tmp_path) == []
    further = f"python://{tmp_path}/app.py:importer?path={tmp_path}/there"
    assert pipeline("flow", "add-destination", "crm", further, "--name", "more").code == 0
    assert pipeline("flow", "import", "more").code == 0
    found = [(number, (tmp_path / "there" / str(number)).read_bytes()) for number in versions]
    assert found == wanted(versions)
    assert read_since(tmp_path) == []
    write(tmp_path, {**versions, 70: "1"})  # its content was pruned, so it is read again
    assert pipeline(*MOVE).code == 0
    assert read_since(tmp_path) == ["70.1"]
    assert contents(tmp_path / "copy.db", "files") == wanted({**versions, 70: "1"})


def stored(directory: Path) -> set[Path]:
    return {
        path for path in (directory / ".pipeline" / "store").rglob("*") if path.is_file() and "binaries" in str(path)
    }


def test_a_flow_that_is_rebuilt_does_not_trust_what_was_stored(pipeline: CommandLine, tmp_path: Path) -> None:
    assert pipeline(*MOVE).code == 0
    for path in stored(tmp_path):
        path.unlink()
    rebuilt = pipeline("rebuild", "crm")
    assert rebuilt.code == 0, rebuilt.err
    change(tmp_path / "copy.db", "DELETE FROM files WHERE id = 7")
    assert pipeline("verify", "crm", "--repair").code in (0, 1)
    assert contents(tmp_path / "copy.db", "files") == wanted(dict.fromkeys(range(100), "1"))


async def test_two_workers_move_contents(pipeline: CommandLine, tmp_path: Path) -> None:
    settings = pipeline_api.Settings(home=tmp_path / ".pipeline", event_file_rows=10)
    await pipeline_api.create_flow(
        "crm",
        f"{tmp_path}/app.py:exporter",
        f"{tmp_path}/app.py:importer",
        source_settings={"path": str(tmp_path)},
        destination_settings={"path": f"{tmp_path}/there"},
        settings=settings,
    )
    stop = anyio.Event()
    async with anyio.create_task_group() as group:
        for _ in range(2):
            group.start_soon(lambda: pipeline_api.run_worker(stop=stop, settings=settings))
        for versions in (dict.fromkeys(range(100), "1"), {**dict.fromkeys(range(90), "1"), 3: "2"}):
            write(tmp_path, versions)
            movement, _ = await pipeline_api.start("crm", settings=settings)
            with anyio.fail_after(60):
                settled = await pipeline_api.wait_settled("crm", movement.number, settings=settings)
            assert settled.status is pipeline_api.Status.SUCCESS, settled.problems
            found = [(int(path.name), path.read_bytes()) for path in (tmp_path / "there").iterdir()]
            assert sorted(found) == wanted(versions)
        stop.set()
    assert sorted(read_since(tmp_path)) == sorted([*(f"{number}.1" for number in range(100)), "3.2"])


async def test_versions_are_kept_in_few_objects_and_forgotten_with_their_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content_versions, "OBJECT_ENTRIES", 10)
    monkeypatch.setattr(content_versions, "SMALL_OBJECTS", 2)
    store, digests = MemoryObjectStore(), [BinaryId(f"{number:064x}") for number in range(100)]

    async def opened(movement: int) -> ContentVersions:
        versions = ContentVersions(store, FlowName("f"), StreamName("s"), movement)
        await versions.load()
        return versions

    async def objects() -> int:
        return len(await store.list_page("flows/f/contents/s/"))

    async def known(versions: ContentVersions, numbers: range, version: str) -> list[int]:
        found = await versions.find([((number, "k"), "c", version) for number in numbers])
        return [number for number, digest in zip(numbers, found, strict=True) if digest == digests[number]]

    first = await opened(1)
    for number in range(100):
        first.note((number, "k"), "c", "1", digests[number])
        if number % 2:
            await first.commit()
    assert await objects() == 50
    await first.drop(unneeded=True)
    assert await objects() == 10
    second, other = await opened(2), await opened(2)
    assert await known(second, range(60), "1") == list(range(60))
    assert await known(second, range(60), "2") == []
    for one in (second, other):  # two attempts at once
        one.note((5, "k"), "c", "2", digests[5])
        await one.commit()
    await second.drop(unneeded=True)
    third = await opened(3)
    assert await known(third, range(100), "1") == [number for number in range(60) if number != 5]
    assert await known(third, range(100), "2") == [5]
    await third.drop(unneeded=True)
    assert await objects() <= 8
    for one in (first, second, other, third):
        one.close()


SLOWLY = "            await __import__('anyio').sleep(0.005)\n"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_move_of_contents_that_is_killed_again_and_again_is_whole(seed: int, tmp_path: Path) -> None:
    choose, versions = random.Random(seed), dict.fromkeys(range(200), "1")
    write_plugin(tmp_path / "app.py", APP.replace("            yield f", f"{SLOWLY}            yield f"))
    write(tmp_path, versions)

    def start(*arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "pipeline", *arguments]
        return subprocess.Popen(command, cwd=tmp_path, env=process_environment(), stdout=subprocess.DEVNULL)

    kills, killer, move = 0, Killer(choose), (*MOVE, "--allow-deletes", "files")
    while kills < 8:
        kills += killer.kill(start(*move))
        if choose.random() < 0.5:
            versions[choose.randrange(250)] = f"{kills}"
            versions.pop(choose.randrange(200), None)
            write(tmp_path, versions)
    assert [start(*move).wait() for _ in range(2)] == [0, 0]
    assert sorted(contents(tmp_path / "copy.db", "files")) == sorted(wanted(versions))
    assert start("verify", "crm").wait() == 0
    read_since(tmp_path)
    assert start(*move).wait() == 0
    assert read_since(tmp_path) == []


def test_a_rejected_record_is_retried_with_its_content(pipeline: CommandLine, tmp_path: Path) -> None:
    refusing = APP.replace(
        "        if isinstance(record, Upsert):\n",
        "        if record.key == 7 and not (target.parent / 'open').exists():\n"
        "            batch.refuse(record, 'closed')\n"
        "        elif isinstance(record, Upsert):\n",
    )
    write_plugin(tmp_path / "app.py", refusing)
    places = ("./app.py:exporter", "./app.py:importer")
    to_target = ("--source-set", "path=.", "--destination-set", "path=target")
    assert pipeline("move", *places, *to_target, "--flow", "crm").code == 1
    assert not (tmp_path / "target" / "7").exists()
    (tmp_path / "open").touch()
    retried = pipeline("retry", "crm")
    assert retried.code == 0, retried.err
    assert (tmp_path / "target" / "7").read_bytes() == b"content 7 1 " * 20
