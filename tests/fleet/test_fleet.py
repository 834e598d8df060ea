"""Fleets of real processes on a real S3 and SQS: killed, frozen, or without messages, the destination equals the source."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import anyio
import orjson
import pytest

from localstack.provision import Access
from tests.fleet.fleet import VISIBILITY_SECONDS, Fleet, build, change, open_fleet, rows_of, wait_until
from tests.servers.addresses import S3AndSqs, S3Server

OpenFleet = Callable[..., AbstractContextManager[Fleet]]
KILLS = int(os.environ.get("FLEET_TEST_KILLS", "10"))


@pytest.fixture
def open_it(tmp_path: Path, seaweedfs: S3Server, ministack: S3AndSqs) -> OpenFleet:
    """Return a function that opens a fleet on SeaweedFS and ministack."""

    def open_one(**settings: str) -> AbstractContextManager[Fleet]:
        return open_fleet(tmp_path, seaweedfs, ministack.sqs, **settings)

    return open_one


def marks(path: Path) -> int:
    """Return the number of Event Files that a destination has imported."""
    if not path.exists():
        return 0
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)
    try:
        return int(db.execute("SELECT count(*) FROM _pipeline_marks").fetchone()[0])
    except sqlite3.OperationalError:
        return 0  # it is being created
    finally:
        db.close()


def test_three_importers_move_and_move_again(open_it: OpenFleet) -> None:
    with open_it() as fleet:
        build(fleet.source, 16, 800)  # enough that each importer gets one
        fleet.connect()
        for role in ("export", "import", "import", "import"):
            fleet.spawn(role)
        wait_until(lambda: fleet.log().count('"worker_started"') == 4, 60)
        fleet.start()
        settled = fleet.wait_settled()
        assert (settled["status"], settled["problems"]) == ("SUCCESS", [])
        assert rows_of(fleet.destination) == rows_of(fleet.source)
        change(fleet.source, [0, 2], "again")
        second = fleet.run("start", "crm", "--wait", "--json")
        assert orjson.loads(second.stdout)["records"]["deletes"] > 0, second.stderr
        assert rows_of(fleet.destination) == rows_of(fleet.source)
        assert fleet.stop() == [0, 0, 0, 0]
        assert not list(fleet.directory.glob("health*"))
        lines = [orjson.loads(line) for line in fleet.log().splitlines()]
        assert all("worker" in line for line in lines if line["event"] != "worker_started")
        assert len({line["worker"] for line in lines if line["event"] == "import_started"}) == 3


def test_killed_workers_lose_nothing_and_import_nothing_twice(open_it: OpenFleet) -> None:
    dice = random.Random(7)
    with open_it(event_file_rows="100") as fleet:
        build(fleet.source, 4, 6000)
        fleet.connect()
        for role in ("export", "import", "import"):
            fleet.spawn(role)
        fleet.start()
        for number in range(KILLS):
            before = marks(fleet.destination)
            wait_until(lambda before=before: marks(fleet.destination) > before or not before, 60)  # type: ignore[misc]
            alive = [worker for worker in fleet.workers if worker.poll() is None]
            victim = alive[0] if number % 4 == 0 else dice.choice(alive)
            victim.kill()
            victim.wait()
            fleet.spawn("export" if victim.args[4] == "export" else "import")  # type: ignore[index]
        settled = fleet.wait_settled(240)
        assert (settled["status"], settled["problems"]) == ("SUCCESS", [])
        assert rows_of(fleet.destination) == rows_of(fleet.source)
        files = settled["event_files"]
        assert isinstance(files, dict)
        assert files["imported"] == files["exported"] == marks(fleet.destination)


def test_a_queue_that_is_deleted_and_created_again_loses_nothing(open_it: OpenFleet) -> None:
    with open_it() as fleet:
        build(fleet.source, 3, 3000)
        fleet.connect()
        exporter = fleet.spawn("export")
        fleet.start()
        wait_until(lambda: "group_completed" in fleet.log(), 60)
        anyio.run(_recreate_queues, fleet)
        exporter.kill()
        fleet.spawn("all")
        settled = fleet.wait_settled()
        assert settled["status"] == "SUCCESS"
        assert rows_of(fleet.destination) == rows_of(fleet.source)


async def _recreate_queues(fleet: Fleet) -> None:
    access = Access(fleet.settings["sqs_endpoint_url"], fleet.settings["aws_region"])
    async with access.sqs() as client:
        for setting in ("exports_queue", "imports_queue"):
            name = fleet.settings[setting].removeprefix("sqs://")
            url = (await client.get_queue_url(QueueName=name))["QueueUrl"]
            attributes = (await client.get_queue_attributes(QueueUrl=url, AttributeNames=["RedrivePolicy"]))[
                "Attributes"
            ]
            await client.delete_queue(QueueUrl=url)
            await client.create_queue(QueueName=name, Attributes={"RedrivePolicy": attributes["RedrivePolicy"]})


def test_a_worker_frozen_past_its_lease_writes_nothing_afterwards(open_it: OpenFleet) -> None:
    with open_it(event_file_rows="50") as fleet:
        build(fleet.source, 2, 4000)
        fleet.connect()
        fleet.spawn("export")
        zombie = fleet.spawn("import")
        fleet.start()
        wait_until(lambda: marks(fleet.destination) > 3, 60)
        zombie.send_signal(signal.SIGSTOP)
        # a frozen process may hold SQLite's lock, and only its own transaction can release it
        anyio.run(anyio.sleep, VISIBILITY_SECONDS / 10)
        fleet.spawn("import")
        anyio.run(anyio.sleep, VISIBILITY_SECONDS + 1)
        zombie.send_signal(signal.SIGCONT)
        settled = fleet.wait_settled()
        assert settled["status"] == "SUCCESS"
        assert rows_of(fleet.destination) == rows_of(fleet.source)
        files = settled["event_files"]
        assert isinstance(files, dict)
        assert files["imported"] == files["exported"]


def test_a_signal_drains(open_it: OpenFleet) -> None:
    with open_it() as fleet:
        worker = fleet.spawn("all")
        wait_until(lambda: (fleet.directory / "health0").exists())
        assert orjson.loads((fleet.directory / "health0").read_bytes())["status"] == "running"
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(20) == 0
        assert not (fleet.directory / "health0").exists()


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("store", "s3://nobody-has-this-bucket", "nobody-has-this-bucket"),
        ("imports_queue", "sqs://nobody-has-this-queue", "nobody-has-this-queue"),
        ("store", "", "s3://"),
    ],
)
def test_an_unusable_setting_is_named_at_the_start(
    tmp_path: Path, ministack: S3AndSqs, setting: str, value: str, words: str
) -> None:
    with open_fleet(tmp_path, ministack.s3, ministack.sqs, **{setting: value}) as fleet:
        assert words in refused(fleet)


def test_wrong_credentials_are_reported_and_not_shown(open_it: OpenFleet) -> None:
    with open_it(aws_secret_access_key="wrong-secret") as fleet:
        message = refused(fleet)
        assert "wrong-secret" not in message
        assert fleet.settings["store"].removeprefix("s3://") in message


def refused(fleet: Fleet) -> str:
    """Run a worker that cannot start, and return its message."""
    ended = fleet.run("worker", "all", seconds=60)
    assert ended.returncode in (1, 2)
    message = ended.stderr.decode()
    assert "Traceback" not in message
    return message
