"""Metrics of a process: made when they are asked for, counted at the ports, and served on a port of their own.

prometheus_client is an extra, and is imported here alone.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

from pipeline.assembly.reporters import Fanout
from pipeline.domain.errors import ConfigurationError, RefusedError
from pipeline.log_events import log
from pipeline.ports.event_queue import EventQueue
from pipeline.ports.object_store import ObjectStore
from pipeline.ports.reporter import Reporter
from pipeline.settings import Settings

if TYPE_CHECKING:
    from pipeline.metrics.registry import Metrics
    from pipeline.ports.sender import Sender


class Meter:
    """Counts what passes through the ports of this process. `watch` also counts log events, within a block."""

    def __init__(self, metrics: Metrics, visibility_seconds: float) -> None:
        from pipeline.metrics.reporter import MetricsReporter

        self.metrics, self._visibility_seconds = metrics, visibility_seconds
        self._reporter = MetricsReporter(metrics)

    def store(self, store: ObjectStore) -> ObjectStore:
        """Return a store that is metered."""
        from pipeline.metrics.object_store import MeteredObjectStore

        return MeteredObjectStore(store, self.metrics)

    def queue(self, queue: EventQueue, name: str) -> EventQueue:
        """Return a queue that is metered."""
        from pipeline.metrics.event_queue import MeteredEventQueue

        return MeteredEventQueue(queue, name, self._visibility_seconds, self.metrics)

    def sender(self, sender: Sender) -> Sender:
        """Return a sender that is metered."""
        from pipeline.metrics.sender import MeteredSender

        return MeteredSender(sender, self.metrics)

    def reporter(self, reporter: Reporter) -> Reporter:
        """Return a Reporter that also counts."""
        return Fanout([reporter, self._reporter])

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Count log events too."""
        with log.watched_by(self._reporter.note_log_event):
            yield


def create_meter(settings: Settings, *, is_server: bool = False) -> Meter:
    """Return a meter. ConfigurationError when the extra is missing."""
    try:
        from pipeline.metrics.registry import Metrics
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"Metrics need the package {error.name}. Install it with: pip install 'app-data-pipeline[metrics]'"
        ) from error
    from importlib.metadata import version

    metrics = Metrics(version("app-data-pipeline"), streams=settings.metrics_streams, is_server=is_server)
    return Meter(metrics, settings.queue_visibility_seconds)


@asynccontextmanager
async def serve_metrics(settings: Settings) -> AsyncIterator[Meter | None]:
    """Give a meter, and serve what it counts where the setting `metrics_listen` says; None when it is empty.

    Prometheus's own server runs in a thread. RefusedError when the port is taken or the address is not ours.
    """
    if not settings.metrics_listen:
        yield None
        return
    meter = create_meter(settings)
    from prometheus_client import start_http_server

    address, _, port = settings.metrics_listen.rpartition(":")
    host = address.strip("[]") or "127.0.0.1"
    try:
        server, thread = start_http_server(int(port), host, meter.metrics.registry)
    except (OSError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) else "a port is at most 65535"
        raise RefusedError(
            f"Metrics cannot be served on {settings.metrics_listen}: {reason}. Choose another port with metrics_listen."
        ) from error
    try:
        log.info(
            "metrics_served", url=f"http://{settings.metrics_listen.rpartition(':')[0] or host}:{server.server_port}/"
        )
        with meter.watch():
            yield meter
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
