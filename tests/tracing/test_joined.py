"""Spans of workers that share nothing but the store and the queues join into one trace."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import anyio
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from pipeline.assembly.commands.flows import create_flow
from pipeline.assembly.commands.lifecycle.starts import start
from pipeline.assembly.commands.workers import Role, run_worker, wait_settled
from pipeline.assembly.runtime import open_runtime
from pipeline.codec.documents.message import GroupCompleted, decode_message
from pipeline.domain.ids import FlowName
from pipeline.domain.movement import Movement
from pipeline.settings import Settings
from pipeline.tracing import OpenTelemetryTracer
from tests.metrics.test_counts import create


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """Where the spans of this process go."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr("opentelemetry.trace.get_tracer_provider", lambda: provider)
    yield exporter
    provider.shutdown()


async def export_then_import(settings: Settings, *, lose_messages: bool) -> Movement:
    """Run an exporter to its end, then an importer, each in tasks of its own. Messages of groups may be lost in between."""
    movement, _ = await start("crm", settings=settings)
    stop = anyio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: run_worker(Role.EXPORT, stop=stop, settings=settings))
        async with open_runtime(settings) as runtime, runtime.imports() as queue:
            while not (await runtime.flows.read_movement(FlowName("crm"), movement.number)).exported:  # noqa: ASYNC110
                await anyio.sleep(0.05)
            stop.set()
            if lose_messages:
                lost = await queue.receive(max_messages=10)
                announced = [decode_message(message.body) for message in lost]
                assert all(one.traceparent for one in announced if isinstance(one, GroupCompleted))
                assert any(isinstance(one, GroupCompleted) for one in announced)
                await queue.acknowledge([message.receipt for message in lost])
    stop = anyio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: run_worker(Role.IMPORT, stop=stop, settings=settings))
        with anyio.fail_after(60):
            settled = await wait_settled("crm", movement.number, settings=settings)
        stop.set()
    return settled


@pytest.mark.parametrize("lose_messages", [False, True])
async def test_one_trace_leads_from_the_exporter_to_the_commit(
    tmp_path: Path, spans: InMemorySpanExporter, *, lose_messages: bool
) -> None:
    create(tmp_path / "app.db", 250)
    settings = Settings(home=tmp_path / "home", event_file_rows=100, sweep_seconds=0.2, progress_seconds=0.1)
    await create_flow("crm", tmp_path / "app.db", tmp_path / "copy.db", settings=settings)
    movement = await export_then_import(settings, lose_messages=lose_messages)
    assert movement.totals.upserts == 250
    found = spans.get_finished_spans()
    by_id = {span.context.span_id: span for span in found if span.context}
    commits, files = named(found, "commit"), named(found, "import file")
    assert len(commits) == len(files) == movement.totals.files_imported >= 3
    for commit in commits:
        chain = [commit.name]
        span = commit
        while span.parent is not None:
            span = by_id[span.parent.span_id]
            chain.append(span.name)
        assert chain[:3] == ["commit", "import file", "import group"]
        assert chain[-2:] == ["export group", "export Movement"]
        assert chain[3:-2] in ([], ["export stream"])  # a list that was announced before the stream had ended
    [root] = named(found, "export Movement")
    assert root.attributes == {"flow": "crm", "movement": 1}
    traces = {span.context.trace_id for span in (*files, *commits, *named(found, "store file")) if span.context}
    assert traces == {root.context.trace_id if root.context else None}
    stored = {span.attributes["file"] for span in named(found, "store file") if span.attributes}
    assert stored == {span.attributes["file"] for span in files if span.attributes}


def named(spans: Sequence[ReadableSpan], name: str) -> Sequence[ReadableSpan]:
    return [span for span in spans if span.name == name]


def test_an_error_is_noted_by_its_type_and_not_by_what_it_quotes(spans: InMemorySpanExporter) -> None:
    tracer = OpenTelemetryTracer()
    with pytest.raises(ValueError, match="secret"), tracer.span("import file", file="1/t/full/0"):
        raise ValueError("the secret of a record")
    [span] = spans.get_finished_spans()
    assert span.status.status_code is StatusCode.ERROR
    assert "ValueError" in span.to_json()
    assert "secret" not in span.to_json()


def test_nothing_is_imported_or_stored_of_traces_where_opentelemetry_is_not_used(tmp_path: Path) -> None:
    create(tmp_path / "app.db", 5)
    program = (
        "import sys; from pipeline.cli.main import run; code = run(sys.argv[1:]); "
        "sys.exit(code or any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    moved = subprocess.run(
        [sys.executable, "-c", program, "move", "app.db", "copy.db", "--flow", "crm"],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert moved.returncode == 0, moved.stderr
    lists = list((tmp_path / ".pipeline").rglob("files*.jsonl"))
    assert lists
    assert not any(b"traceparent" in path.read_bytes() for path in lists)
