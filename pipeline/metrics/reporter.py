"""Counts what the engine reports, and what it logs that can be survived."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.log_events import bound_value
from pipeline.metrics.registry import Metrics
from pipeline.ports.reporter import (
    BinaryFileStored,
    Event,
    EventFileFailed,
    EventFileImported,
    EventFileStored,
    MovementBegun,
    MovementSettled,
)

RETRIES: Mapping[str, str] = {
    "event_file_load_retried": "destination_busy",
    "queue_receive_failed": "queue_receive",
    "lease_renewal_failed": "lease_renewal",
    "message_given_back": "message",
    "plugin_call_retried": "plugin",
    "receiver_waits": "receiver",
    "notification_failed": "notification",
}
"""The log events that say that something is tried again, and the reason that is counted."""


class MetricsReporter:
    """A Reporter. The Flow of an event is the one whose message is handled; without messages, that of the Movement begun."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics, self._flow = metrics, ""

    def report(self, event: Event) -> None:
        """Count the event."""
        metrics, flow = self._metrics, bound_value("flow") or self._flow
        match event:
            case MovementBegun():
                self._flow = event.flow
            case EventFileStored(adopted=True):
                metrics.count("pipeline_files_total", flow=flow, outcome="adopted")
            case EventFileStored():
                metrics.count("pipeline_files_total", flow=flow, outcome="stored")
                self._count_records(flow, event.id.stream, "exported", event.upserts, event.deletes, event.size)
            case EventFileImported():
                metrics.count("pipeline_files_total", flow=flow, outcome="imported")
                mark = event.mark
                self._count_records(flow, event.id.stream, "imported", mark.upserts, mark.deletes, event.size)
                self._observe_times(flow, event)
            case EventFileFailed():
                metrics.count("pipeline_files_total", flow=flow, outcome="failed")
            case MovementSettled(settled, skipped=skipped):
                metrics.count("pipeline_files_total", skipped, flow=settled, outcome="skipped")
            case BinaryFileStored(size, reused, count):
                result = "reused" if reused else "stored"
                metrics.count("pipeline_binaries_total", count, flow=flow, result=result)
                metrics.count("pipeline_binary_bytes_total", size, flow=flow, result=result)
            case _:
                pass

    def note_log_event(self, event: str, values: Mapping[str, object]) -> None:
        """Count a log event."""
        flow = str(values.get("flow") or bound_value("flow") or self._flow)
        if event in RETRIES:
            self._metrics.count("pipeline_retries_total", reason=RETRIES[event])
        elif event == "message_resent":
            self._metrics.count("pipeline_sweep_rang_total", flow=flow)
        elif event == "event_file_gave_way":
            self._metrics.count("pipeline_gave_way_total", flow=flow)
            if values["is_fenced"]:
                self._metrics.count("pipeline_fenced_total", flow=flow)

    def _count_records(self, flow: str, stream: str, direction: str, upserts: int, deletes: int, size: int) -> None:
        labels = {"flow": flow, "stream": self._metrics.stream(flow, stream), "direction": direction}
        self._metrics.count("pipeline_records_total", upserts, op="upsert", **labels)
        self._metrics.count("pipeline_records_total", deletes, op="delete", **labels)
        self._metrics.count("pipeline_bytes_total", size, **labels)

    def _observe_times(self, flow: str, event: EventFileImported) -> None:
        fetch, commit = event.fetch_seconds, event.commit_seconds
        for step, seconds in (("fetch", fetch), ("commit", commit), ("apply", event.seconds - fetch - commit)):
            self._metrics.observe("pipeline_file_seconds", max(seconds, 0.0), flow=flow, step=step)
        self._metrics.observe("pipeline_destination_commit_seconds", commit)
        self._metrics.observe("pipeline_file_lag_seconds", event.lag_seconds, flow=flow)
