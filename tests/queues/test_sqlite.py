"""The SQLite queue beyond the port: several processes, several names, and its file."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import anyio
import pytest

from pipeline.domain.errors import ConfigurationError, RefusedError
from pipeline.ports.event_queue import MAX_BODY_BYTES, QueueDepth
from pipeline.queues.sqlite.event_queue import open_sqlite_queue
from tests.contracts.processes import race, start, wait_for_start

MESSAGES = 60


def work(path: str) -> None:
    wait_for_start()

    async def main() -> None:
        async with open_sqlite_queue(Path(path), name="groups", visibility_seconds=60) as queue:
            while messages := await queue.receive(max_messages=2, wait_seconds=0.3):
                await queue.acknowledge([message.receipt for message in messages])
                print(*[message.body.decode() for message in messages], end=" ")

    anyio.run(main)


@pytest.mark.slow
async def test_processes_share_the_messages(tmp_path: Path) -> None:
    path = tmp_path / "made/when/missing/queue.db"
    workers = [start(work, path) for _ in range(6)]
    async with open_sqlite_queue(path, name="groups") as queue:
        await queue.send([b"%d" % number for number in range(MESSAGES)])
        outputs = await anyio.to_thread.run_sync(race, workers)
        assert await queue.depth() == QueueDepth(0, 0, 0)
    handled = [int(number) for output in outputs for number in output.split()]
    assert sorted(handled) == list(range(MESSAGES))


async def test_messages_survive_reopening(tmp_path: Path) -> None:
    async with open_sqlite_queue(tmp_path / "q.db", name="groups") as queue:
        await queue.send([b"kept"])
    async with open_sqlite_queue(tmp_path / "q.db", name="groups") as queue:
        assert [message.body for message in await queue.receive()] == [b"kept"]


async def test_a_killed_worker_s_message_is_delivered_again_by_the_injected_clock(tmp_path: Path) -> None:
    time = 1000.0
    async with open_sqlite_queue(tmp_path / "q.db", name="a", visibility_seconds=30, now=lambda: time) as queue:
        await queue.send([b"x"])
        assert len(await queue.receive()) == 1
        time += 29.9
        assert len(await queue.receive()) == 0
        time += 0.1
        assert [message.receive_count for message in await queue.receive()] == [2]


async def test_queues_of_different_names_share_only_the_file(tmp_path: Path) -> None:
    async with (
        open_sqlite_queue(tmp_path / "q.db", name="a") as one,
        open_sqlite_queue(tmp_path / "q.db", name="b") as two,
    ):
        await one.send([b"for one"])
        assert list(await two.receive(max_messages=10)) == []
        [message] = await one.receive()
        await two.acknowledge([message.receipt])
        await two.reject(message, "not mine")
        assert await one.depth() == QueueDepth(0, 1, 0)
        assert await two.depth() == QueueDepth(0, 0, 0)


async def test_a_dead_letter_keeps_its_reason(tmp_path: Path) -> None:
    async with open_sqlite_queue(tmp_path / "q.db", name="a") as queue:
        await queue.send([b"poison"])
        await queue.reject((await queue.receive())[0], "unknown format version 9")
    connection = sqlite3.connect(tmp_path / "q.db")
    assert connection.execute("SELECT body, dead_reason FROM message").fetchall() == [
        (b"poison", "unknown format version 9")
    ]
    connection.close()


async def test_a_file_that_is_not_a_queue_is_named_and_not_changed(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_bytes(b"dear diary, " * 100)
    other = tmp_path / "app.db"
    connection = sqlite3.connect(other)
    connection.execute("CREATE TABLE album (id)")
    connection.commit()
    connection.close()
    for path in (text, other):
        before = path.read_bytes()
        with pytest.raises(ConfigurationError, match=path.name):
            async with open_sqlite_queue(path, name="a"):
                pass
        assert before == path.read_bytes()


async def test_a_queue_of_a_later_release_is_not_touched(tmp_path: Path) -> None:
    async with open_sqlite_queue(tmp_path / "q.db", name="a"):
        pass
    connection = sqlite3.connect(tmp_path / "q.db")
    connection.execute("PRAGMA user_version = 9")
    connection.close()
    with pytest.raises(ConfigurationError, match="format version 9"):
        async with open_sqlite_queue(tmp_path / "q.db", name="a"):
            pass


async def test_a_path_that_cannot_exist_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "file/q.db", tmp_path):
        with pytest.raises(RefusedError, match=str(path)):
            async with open_sqlite_queue(path, name="a"):
                pass


async def test_a_full_disk_is_refused_and_loses_nothing(tmp_path: Path) -> None:
    async with open_sqlite_queue(tmp_path / "q.db", name="a") as queue:
        await queue.send([b"before"])
        queue._table._connection.execute("PRAGMA max_page_count = 20")
        with pytest.raises(RefusedError, match="free some space"):
            await queue.send([b"x" * MAX_BODY_BYTES])
        assert [message.body for message in await queue.receive(max_messages=10)] == [b"before"]
