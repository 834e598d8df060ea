"""The HTTP API: how fast an app uploads and imports, and how long calls take on a Flow with 100,000 Event Files."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

import anyio
import psutil

from pipeline.kit.ledger.kept import KeptMark
from pipeline.remote.marks import Marks
from pipeline.testing.simulated.object_store import MemoryObjectStore
from tests.engine import long_flow

ROWS, UPLOAD_BYTES, RUNS = int(os.environ.get("BENCH_ROWS", "300000")), 300 << 20, 3
MOVEMENTS, FILES, CALLS = 1_000, 100_000, 40
PART_BYTES = 64 << 20
WANTED_MILLISECONDS, WANTED_MEGABYTES, WANTED_RECORDS = 300, 100, 30_000
PEOPLE = [
    "flows",
    "flows/long",
    "flows/long/movements",
    f"flows/long/movements/{MOVEMENTS}/groups",
    f"flows/long/movements/{MOVEMENTS}/files",
    f"flows/long/movements/{MOVEMENTS}/rejected",
    f"flows/long/events?movement={MOVEMENTS}",
]
APPS = ["apps/long/import", f"apps/long/import/{MOVEMENTS}/groups/{quote(long_flow.STREAMS[0])}/files?limit=1000"]


class Api:
    """Calls of one client on one connection."""

    def __init__(self, port: int, token: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
        self._token = token

    def call(self, method: str, path: str, body: bytes | None = None) -> bytes:
        """Return the body of an answer, which must be good."""
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        self._connection.request(method, path if path.startswith("/") else f"/api/v1/{path}", body, headers)
        answer = self._connection.getresponse()
        data = answer.read()
        if answer.status >= 400:
            raise RuntimeError(f"{method} {path}: {answer.status} {data[:500]!r}")
        return data

    def json(self, method: str, path: str, document: object = None) -> dict[str, object]:
        """Return the JSON of an answer."""
        found: dict[str, object] = json.loads(
            self.call(method, path, json.dumps(document).encode() if document else None)
        )
        return found


def run(directory: Path) -> None:
    """Measure, and print a table."""
    _calls(directory / "long")
    _uploads(directory / "upload")
    _imports(directory / "import")


@contextmanager
def _serving(home: Path) -> Iterator[tuple[int, psutil.Process]]:
    """Run `pipeline serve`; yield its port and its process."""
    command = [
        sys.executable,
        "-m",
        "pipeline",
        "serve",
        "--port",
        "0",
        "--token-file",
        str(home / "token"),
        "--home",
        str(home),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        match = re.search(r":(\d+)/", process.stdout.readline())
        assert match is not None
        try:
            yield int(match[1]), psutil.Process(process.pid)
        finally:
            process.terminate()


def _pipeline(home: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", *arguments, "--home", str(home)], check=True, capture_output=True, text=True
    )
    return done.stdout


def _token(home: Path, flow: str, side: str) -> str:
    said = _pipeline(home, "token", "create", side, "--role", "app", "--flow", flow, "--side", side)
    match = re.search(r"plt_\S+", said)
    assert match is not None
    return match[0]


def _calls(home: Path) -> None:
    anyio.run(_build, home)
    print(
        f"Calls on a Flow with {MOVEMENTS:,} Movements and {FILES:,} Event Files, {CALLS} of each (wanted: p95 under 300 ms)"
    )
    with _serving(home) as (port, _):
        people, app = Api(port, (home / "token").read_text()), Api(port, _token(home, "long", "destination"))
        for api, paths in ((people, PEOPLE), (app, APPS)):
            for path in paths:
                times = []
                for _ in range(CALLS):
                    begun = time.perf_counter()
                    api.call("GET", path)
                    times.append(1000 * (time.perf_counter() - begun))
                p95 = statistics.quantiles(times, n=20)[-1]
                median, shown = statistics.median(times), path.replace("%20", " ")
                print(f"  {shown:56} first {times[0]:6.0f} ms  median {median:5.0f}  p95 {p95:5.0f}")


async def _build(home: Path) -> None:
    """Store the Flow in memory, all of it imported by an app, and write the objects without waiting for the disk."""
    store = MemoryObjectStore()
    flows = await long_flow.build(store, MOVEMENTS, FILES, "sqlite:///none.db", "app://cloud")
    flow, movement = await flows.read_flow(long_flow.FLOW), await flows.read_movement(long_flow.FLOW, MOVEMENTS)
    marks = Marks(store, flow.marks_namespace)
    for key in movement.file_lists.values():
        entries = await flows.read_file_list(key)
        await marks.add({one.id: KeptMark(one.upserts, one.deletes, 0, 0, one.id.movement) for one in entries})
    for key, data in store.contents():
        path = home / "store" / "objects" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def _uploads(home: Path) -> None:
    home.mkdir()
    _pipeline(home, "flow", "create", "up", "app://server", str(home / "copy.db"))
    data = os.urandom(1 << 20) * (UPLOAD_BYTES >> 20)
    stream = {"stream": "t", "columns": [{"name": "id", "type": "integer"}], "primary_keys": ["id"]}
    print(f"An app uploads {UPLOAD_BYTES >> 20} MiB over loopback (wanted: at least {WANTED_MEGABYTES} MB/s)")
    with _serving(home) as (port, server):
        api = Api(port, _token(home, "up", "source"))
        base = f"apps/up/export/{api.json('POST', 'apps/up/export', {'streams': [stream]})['movement']}"
        for name in ("whole", "in parts"):
            rates, before = [], server.cpu_times()
            for number in range(RUNS):
                begun = time.perf_counter()
                _upload(api, f"{base}/contents/{name[:2]}{number}", data, parts=name == "in parts")
                rates.append(UPLOAD_BYTES / 1e6 / (time.perf_counter() - begun))
            now = server.cpu_times()
            busy = UPLOAD_BYTES * RUNS / 1e6 / (now.user - before.user + now.system - before.system)
            spread = f"of {RUNS}: {min(rates):.0f} to {max(rates):.0f}"
            print(
                f"  {name:12} {statistics.median(rates):6.0f} MB/s  ({spread}; {busy:.0f} MB a second of the processor)"
            )


def _upload(api: Api, path: str, data: bytes, *, parts: bool) -> None:
    if not parts:
        api.call("PUT", path, data)
        return
    pieces = [data[at : at + PART_BYTES] for at in range(0, len(data), PART_BYTES)]
    for number, piece in enumerate(pieces):
        api.call("PUT", f"{path}/parts/{number}", piece)
    digests = [hashlib.sha256(piece).hexdigest() for piece in pieces]
    api.json("POST", f"{path}/complete", {"parts": digests, "sha256": hashlib.sha256(data).hexdigest()})


def _imports(home: Path) -> None:
    home.mkdir()
    with closing(sqlite3.connect(home / "app.db")) as db, db:
        db.execute("CREATE TABLE person (id INTEGER PRIMARY KEY, name TEXT)")
        db.executemany("INSERT INTO person VALUES (?, ?)", ((row, f"person {row}") for row in range(ROWS)))
    print(f"A remote app imports {ROWS:,} small records over loopback (wanted: at least {WANTED_RECORDS:,}/s)")
    rates = []
    for number in range(RUNS):
        flow = f"down{number}"
        _pipeline(home, "flow", "create", flow, str(home / "app.db"), "app://cloud")
        _pipeline(home, "start", flow)
        with _serving(home) as (port, _):
            rates.append(ROWS / _import(home, Api(port, _token(home, flow, "destination")), flow, number))
    print(f"  {statistics.median(rates):10,.0f} records/s  (of {RUNS}: {min(rates):,.0f} to {max(rates):,.0f})")


def _import(home: Path, api: Api, flow: str, number: int) -> float:
    """Let a worker export, then import all with the standard library alone; return the seconds of the import."""
    worker = [sys.executable, "-m", "pipeline", "worker", "all", "--home", str(home)]
    with subprocess.Popen(worker, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as working:
        try:
            while not (state := api.json("GET", f"apps/{flow}/import?wait=1"))["exported"]:
                pass
            begun, count = time.perf_counter(), 0
            base = f"apps/{flow}/import/{state['movement']}"
            with closing(sqlite3.connect(home / f"cloud{number}.db")) as db:
                db.execute("CREATE TABLE person (id INTEGER PRIMARY KEY, name TEXT)")
                listed = json.loads(api.call("GET", f"{base}/groups/person/files?limit=1000"))["items"]
                for file in listed:
                    _, *records = api.call("GET", f"{file['url']}&encoding=plain").splitlines()
                    rows = [(row["id"], row["name"]) for row in (json.loads(line)["upsert"] for line in records)]
                    with db:
                        db.executemany("INSERT OR REPLACE INTO person VALUES (?, ?)", rows)
                    api.json("POST", f"{base}/status", {"files": [{"file": file["file"], "status": "imported"}]})
                    count += len(rows)
            seconds = time.perf_counter() - begun
            if count != ROWS:
                raise RuntimeError(f"{count:,} of {ROWS:,} records came")
            return seconds
        finally:
            working.terminate()
