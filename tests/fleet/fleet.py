"""Worker processes as an operator runs them, on real servers and one computer."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex

import anyio

from localstack.provision import Access, provision_bucket, provision_queue
from localstack.resources import Bucket, Queue
from pipeline.assembly.runtime import open_runtime
from pipeline.cli.output.json_output import movement_object
from pipeline.connectors.registry import parse_location
from pipeline.domain.ids import FlowName
from pipeline.domain.movement import Movement
from pipeline.settings import load_settings
from tests.servers.addresses import S3Server, SqsServer

FLOW = "crm"
VISIBILITY_SECONDS = 5.0


@dataclass
class Fleet:
    """A Flow between two SQLite files in `directory`, with its own bucket, queues and workers."""

    directory: Path
    settings: Mapping[str, str]
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def source(self) -> Path:
        return self.directory / "app.db"

    @property
    def destination(self) -> Path:
        return self.directory / "copy.db"

    def connect(self) -> None:
        """Create the Flow."""

        async def main() -> None:
            async with open_runtime(load_settings(flags=self.as_settings())) as home:
                urls = [parse_location(str(path)).url for path in (self.source, self.destination)]
                await home.flows.connect(FlowName(FLOW), *urls)

        anyio.run(main)

    def as_settings(self) -> dict[str, object]:
        """Return the settings for code in this process."""
        return {"home": self.directory / "home", **self.settings}

    async def wait_for(self, holds: str) -> Movement:
        """Wait until the latest Movement is `exported` or `settled`, and return it."""
        async with open_runtime(load_settings(flags=self.as_settings())) as home:
            while True:
                movement = await home.flows.latest(await home.flows.read_flow(FlowName(FLOW)))
                assert movement is not None
                if getattr(movement, holds):
                    return movement
                await anyio.sleep(0.1)

    def spawn(self, role: str) -> subprocess.Popen[bytes]:
        """Start a worker."""
        number = len(self.workers)
        with (self.directory / f"worker{number}.log").open("wb") as log:
            worker = subprocess.Popen(
                [sys.executable, "-m", "pipeline", "worker", role, "--health-file", f"health{number}"],
                cwd=self.directory,
                env=self.environment,
                stdout=log,
                stderr=log,
            )
        self.workers.append(worker)
        return worker

    @property
    def environment(self) -> dict[str, str]:
        """The environment of the worker processes."""
        named = {f"PIPELINE_{name.upper()}": value for name, value in self.settings.items()}
        return {**os.environ, **named, "PIPELINE_HOME": str(self.directory / "home")}

    def run(self, *arguments: str, seconds: float = 120.0) -> subprocess.CompletedProcess[bytes]:
        """Run a command to its end."""
        command = [sys.executable, "-m", "pipeline", *arguments]
        return subprocess.run(
            command, cwd=self.directory, env=self.environment, capture_output=True, timeout=seconds, check=False
        )

    def start(self) -> None:
        """Start a Movement."""
        started = self.run("start", FLOW)
        assert started.returncode == 0, started.stderr.decode()

    def wait_settled(self, seconds: float = 120.0) -> dict[str, object]:
        """Wait until the latest Movement has settled, and return its figures."""

        async def settled() -> dict[str, object]:
            with anyio.fail_after(seconds):
                return movement_object(await self.wait_for("settled"))

        return anyio.run(settled)

    def stop(self) -> list[int]:
        """Drain all running workers, and return their exit codes."""
        for worker in self.workers:
            if worker.poll() is None:
                worker.send_signal(signal.SIGTERM)
        codes = []
        for worker in self.workers:
            try:
                codes.append(worker.wait(30))
            except subprocess.TimeoutExpired:
                worker.kill()
                codes.append(worker.wait())
        return codes

    def kill(self) -> None:
        """End all running workers at once."""
        for worker in self.workers:
            worker.kill()
        for worker in self.workers:
            worker.wait()

    def log(self) -> str:
        """Return the log lines of all workers."""
        return "".join(path.read_text() for path in sorted(self.directory.glob("worker*.log")))


@contextmanager
def open_fleet(directory: Path, s3: S3Server, sqs: SqsServer, **settings: str) -> Iterator[Fleet]:
    """Create a bucket, two queues, and a fleet without workers. Workers that still run at the end are killed."""
    name = f"fleet-{token_hex(4)}"
    visibility_seconds = int(float(settings.get("queue_visibility_seconds", VISIBILITY_SECONDS)))
    queues = tuple(Queue(f"{name}-{kind}", visibility_seconds, 5, 3600, 7200) for kind in ("exports", "imports"))
    access = Access(s3.endpoint_url, s3.region, s3.access_key_id, s3.secret_access_key)
    anyio.run(_make, Bucket(name, 1), queues, access, Access(sqs.endpoint_url, sqs.region))
    fleet = Fleet(
        directory,
        {
            "store": f"s3://{name}", "exports_queue": f"sqs://{name}-exports", "imports_queue": f"sqs://{name}-imports",
            "aws_endpoint_url": s3.endpoint_url, "sqs_endpoint_url": sqs.endpoint_url, "aws_region": s3.region,
            "aws_access_key_id": s3.access_key_id, "aws_secret_access_key": s3.secret_access_key,
            "s3_path_style": "true", "queue_visibility_seconds": str(VISIBILITY_SECONDS), "progress_seconds": "0.5",
            "sweep_seconds": "1", "event_file_rows": "500", "shard_files": "2", "log_format": "json", **settings,
        },
    )  # fmt: skip
    try:
        yield fleet
    finally:
        fleet.kill()


async def _make(bucket: Bucket, queues: Sequence[Queue], s3: Access, sqs: Access) -> None:
    async with s3.s3() as client:
        await provision_bucket(client, bucket, s3.region)
    async with sqs.sqs() as client:
        for queue in queues:
            await provision_queue(client, queue)


def rows_of(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """Return all rows of all tables of the app."""
    with sqlite3.connect(path) as db:
        names = [name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        kept = [name for name in names if not name.startswith(("sqlite_", "_pipeline", "pipeline_"))]
        rows = {name: db.execute(f'SELECT * FROM "{name}" ORDER BY 1').fetchall() for name in kept}
    db.close()
    return rows


def build(path: Path, tables: int, rows: int) -> None:
    """Create an app with this many tables of this many rows."""
    with sqlite3.connect(path) as db:
        for table in range(tables):
            db.execute(f"CREATE TABLE t{table}(id INTEGER PRIMARY KEY, name TEXT, amount REAL, body TEXT)")
            content = ((row, f"name {row}", row / 7, "x" * 100) for row in range(rows))
            db.executemany(f"INSERT INTO t{table} VALUES(?, ?, ?, ?)", content)
    db.close()


def change(path: Path, tables: Sequence[int], marker: str) -> None:
    """Change every tenth row of these tables, delete some rows, and add some."""
    with sqlite3.connect(path) as db:
        for table in tables:
            db.execute(f"UPDATE t{table} SET name = ? WHERE id % 10 = 3", (marker,))
            db.execute(f"DELETE FROM t{table} WHERE id % 100 = 7")
            top = db.execute(f"SELECT max(id) FROM t{table}").fetchone()[0]
            db.executemany(f"INSERT INTO t{table} VALUES(?, ?, 1.5, '')", [(top + n, marker) for n in range(1, 20)])
    db.close()


def wait_until(holds: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait until `holds()`; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"did not happen in {seconds} s"
        time.sleep(0.05)
