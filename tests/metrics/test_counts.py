"""What workers count, read over HTTP while they run, equals what Movements say of themselves."""

from __future__ import annotations

import re
import sqlite3
import urllib.request
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from pipeline.assembly.commands.flows import create_flow
from pipeline.assembly.commands.lifecycle.starts import start
from pipeline.assembly.commands.move import move
from pipeline.assembly.commands.workers import Role, open_worker, wait_settled
from pipeline.assembly.import_helper import ImportHelper
from pipeline.assembly.metering.meter import create_meter, serve_metrics
from pipeline.domain.errors import ConfigurationError, RefusedError
from pipeline.log_events import log
from pipeline.metrics.reporter import MetricsReporter
from pipeline.ports.reporter import BinaryFileStored, SilentReporter
from pipeline.processes.processors import has_spare_processor
from pipeline.settings import Settings
from tests.metrics.scraping import samples


def create(path: Path, rows: int) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("CREATE TABLE person(id INTEGER PRIMARY KEY, name TEXT)")
        db.executemany("INSERT INTO person VALUES(?, ?)", [(number, f"person {number}") for number in range(rows)])


@asynccontextmanager
async def counted(settings: Settings) -> AsyncIterator[str]:
    """Run a worker; give the URL of its metrics."""
    urls: list[str] = []

    def watch(event: str, values: Mapping[str, object]) -> None:
        if event == "metrics_served":
            urls.append(str(values["url"]))

    stop = anyio.Event()
    with log.watched_by(watch):
        async with open_worker(Role.ALL, settings=settings) as worker, anyio.create_task_group() as group:
            group.start_soon(worker.run, stop)
            yield urls[0]
            stop.set()


async def scrape(url: str) -> Mapping[tuple[str, ...], float]:
    def read() -> str:
        with urllib.request.urlopen(f"{url}metrics", timeout=10) as answer:
            return str(answer.read().decode())

    return samples(await anyio.to_thread.run_sync(read))


async def test_a_worker_counts_two_flows_at_once_as_their_movements_do(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home", event_file_rows=100, sweep_seconds=0.2, metrics_listen="0")
    for flow, rows in (("crm", 250), ("shop", 1)):
        create(tmp_path / f"{flow}.db", rows)
        await create_flow(flow, tmp_path / f"{flow}.db", tmp_path / f"{flow}-copy.db", settings=settings)
    async with counted(settings) as url:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", url)
        for flow in ("crm", "shop"):
            await start(flow, settings=settings)
        for flow in ("crm", "shop"):
            await wait_settled(flow, 1, settings=settings)
        found = await scrape(url)
    for flow, rows, files in (("crm", 250, 3), ("shop", 1, 1)):
        for direction in ("exported", "imported"):
            labels = (f"direction={direction}", f"flow={flow}")
            assert found["pipeline_records_total", *labels, "op=upsert", "stream=person"] == rows
            assert found["pipeline_records_total", *labels, "op=delete", "stream=person"] == 0
            assert found["pipeline_bytes_total", *labels, "stream=person"] > 0
        for outcome in ("stored", "imported"):
            assert found["pipeline_files_total", f"flow={flow}", f"outcome={outcome}"] >= files
        assert found["pipeline_file_lag_seconds_count", f"flow={flow}"] >= files
        steps = [
            found["pipeline_file_seconds_sum", f"flow={flow}", f"step={step}"] for step in ("fetch", "apply", "commit")
        ]
        assert all(seconds > 0 for seconds in steps)
    assert found["pipeline_queue_received_total", "queue=exports"] >= 2
    assert found["pipeline_queue_deleted_total", "queue=imports"] >= 2
    assert ("pipeline_leases", "queue=imports") in found
    assert found["pipeline_store_request_seconds_count", "op=put"] > 10
    assert found["pipeline_destination_commit_seconds_count",] >= 4
    assert [name for name in found if name[0] == "pipeline_build_info"]


async def test_a_file_is_skipped_only_if_an_earlier_movement_imported_it(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home", event_file_rows=100, sweep_seconds=0.2, metrics_listen="0")
    create(tmp_path / "app.db", 250)
    await create_flow("crm", tmp_path / "app.db", tmp_path / "copy.db", settings=settings)
    skipped, wanted = ("pipeline_files_total", "flow=crm", "outcome=skipped"), 0
    async with counted(settings) as url:
        for number in (1, 2, 3):
            await start("crm", settings=settings)
            movement = await wait_settled("crm", number, settings=settings)
            wanted += movement.totals.files_skipped
            with closing(sqlite3.connect(tmp_path / "app.db")) as db, db:
                db.execute("INSERT INTO person(name) VALUES('one more')")
        with anyio.fail_after(60):
            while (found := await scrape(url)).get(skipped, 0) < wanted:  # noqa: ASYNC110  the process has no event for it
                await anyio.sleep(0.02)
    assert movement.totals.files_skipped > 0
    assert found[skipped] == wanted


@pytest.mark.skipif(not has_spare_processor(), reason="needs two processors")
async def test_what_a_subprocess_imports_is_counted_by_the_process_that_started_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create(tmp_path / "app.db", 20_000)
    settings = Settings(home=tmp_path / "home", event_file_bytes=20_000)
    meter, opened, original = create_meter(settings), [], ImportHelper.open

    def note_open(*arguments: object) -> object:
        opened.append(arguments)
        return original(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(ImportHelper, "open", note_open)
    movement = await move(
        tmp_path / "app.db",
        tmp_path / "copy.db",
        flow="crm",
        settings=settings,
        reporter=meter.reporter(SilentReporter()),
    )
    found = samples(meter.metrics.render().decode())
    assert opened, "no subprocess has imported"
    for direction in ("exported", "imported"):
        name = ("pipeline_records_total", f"direction={direction}", "flow=crm", "op=upsert", "stream=person")
        assert found[name] == 20_000
    assert found["pipeline_files_total", "flow=crm", "outcome=imported"] == movement.totals.files_imported


async def test_a_port_that_is_taken_or_wrong_is_named_before_any_work(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home", metrics_listen="0")
    urls: list[object] = []
    with log.watched_by(lambda _, values: urls.append(values["url"])):
        async with serve_metrics(settings):
            port = str(urls[0]).rstrip("/").rpartition(":")[2]
            for listen in (port, f"127.0.0.1:{port}", "203.0.113.1:9464", "99999"):
                with pytest.raises(RefusedError, match=rf"cannot be served on {re.escape(listen)}: .*metrics_listen"):
                    async with open_worker(Role.ALL, settings=replace(settings, metrics_listen=listen)):
                        pass
    async with serve_metrics(replace(settings, metrics_listen=port)) as again:
        assert again is not None  # the port is free again
    with pytest.raises(ConfigurationError, match="metrics_listen: "):
        replace(settings, metrics_listen="nine")


def test_log_events_of_what_is_survived_are_counted_at_every_level(tmp_path: Path) -> None:
    meter = create_meter(Settings(home=tmp_path))
    log.configure(lambda *_: None, "error")
    try:
        with meter.watch():
            log.info("event_file_gave_way", flow="crm", reason="…", is_fenced=False)
            log.info("event_file_gave_way", flow="crm", reason="…", is_fenced=True)
            log.info("message_resent", flow="crm", movement=1, message="…")
            log.warning("event_file_load_retried", reason="…", pause_seconds=1)
        log.info("message_resent", flow="crm", movement=1, message="…")
    finally:
        log.configure(log._write)
    found = samples(meter.metrics.render().decode())
    assert found["pipeline_gave_way_total", "flow=crm"] == 2
    assert found["pipeline_fenced_total", "flow=crm"] == 1
    assert found["pipeline_sweep_rang_total", "flow=crm"] == 1
    assert found["pipeline_retries_total", "reason=destination_busy"] == 1


def test_binary_files_of_a_pack_are_counted_one_by_one(tmp_path: Path) -> None:
    meter = create_meter(Settings(home=tmp_path))
    reporter = MetricsReporter(meter.metrics)
    for event in (BinaryFileStored(900, reused=False, count=30), BinaryFileStored(50, reused=True)):
        reporter.report(event)
    found = samples(meter.metrics.render().decode())
    for name, stored, reused in (("pipeline_binaries_total", 30, 1), ("pipeline_binary_bytes_total", 900, 50)):
        assert (found[name, "flow=", "result=stored"], found[name, "flow=", "result=reused"]) == (stored, reused)
