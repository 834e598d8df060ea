"""The names of all metrics, with kind, labels and meaning. Nothing here needs a library."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

SECONDS = (0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Limits of the buckets of a duration, in seconds: from a request to a local store to a large commit."""
LAG_SECONDS = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 21600.0)
"""Those of a lag: from a tenth of a second to six hours."""


class Kind(StrEnum):
    """How a metric changes."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Place(StrEnum):
    """Which process has a metric."""

    WORKER = "worker"
    SERVE = "serve"


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric. A counter's name ends in `_total`, as it is served; units are seconds and bytes, and are in the name."""

    name: str
    kind: Kind
    labels: Sequence[str]
    meaning: str
    place: Place = Place.WORKER
    buckets: Sequence[float] = SECONDS


def _counter(name: str, labels: str, meaning: str) -> Metric:
    return Metric(name, Kind.COUNTER, labels.split(), meaning)


def _histogram(name: str, labels: str, meaning: str, buckets: Sequence[float] = SECONDS) -> Metric:
    return Metric(name, Kind.HISTOGRAM, labels.split(), meaning, buckets=buckets)


def _fleet(name: str, labels: str, meaning: str) -> Metric:
    return Metric(name, Kind.GAUGE, labels.split(), meaning, Place.SERVE)


METRICS: Sequence[Metric] = (
    _counter("pipeline_records_total", "flow stream direction op", "records in Event Files that were exported or imported"),
    _counter("pipeline_bytes_total", "flow stream direction", "bytes of these Event Files, as they are stored"),
    _counter("pipeline_files_total", "flow outcome", "Event Files by what became of them"),
    _counter("pipeline_binaries_total", "flow result", "Binary Files that were stored, or found stored and used again"),
    _counter("pipeline_binary_bytes_total", "flow result", "bytes of these Binary Files"),
    _histogram("pipeline_file_lag_seconds", "flow", "from the export of an Event File to the end of its import", LAG_SECONDS),
    _histogram("pipeline_file_seconds", "flow step", "where the time of an import goes: fetch, apply, commit"),
    _histogram("pipeline_destination_commit_seconds", "", "commits of Event Files, of all Flows"),
    _histogram("pipeline_store_request_seconds", "op", "requests to the store, retries included"),
    _counter("pipeline_retries_total", "reason", "what was tried again"),
    _counter("pipeline_gave_way_total", "flow", "Event Files left to another worker that was ahead"),
    _counter("pipeline_fenced_total", "flow", "those of them that were refused because their Movement was stopped"),
    _counter("pipeline_queue_received_total", "queue", "messages received"),
    _counter("pipeline_queue_deleted_total", "queue", "messages acknowledged, or moved to the dead-letter queue"),
    _counter("pipeline_queue_returned_total", "queue", "messages given back"),
    _counter("pipeline_queue_extended_total", "queue", "leases extended"),
    Metric("pipeline_leases", Kind.GAUGE, ("queue",), "messages that this worker holds"),
    _counter("pipeline_sweep_rang_total", "flow", "messages that the sweep sent again; close to 0 while none is lost"),
    _counter("pipeline_notifications_attempts_total", "endpoint outcome", "tries to deliver an event"),
    _fleet("pipeline_notifications_pending", "endpoint", "events that an endpoint has not got yet"),
    _fleet("pipeline_movements", "flow status", "1 for the status of the latest Movement of a Flow that is no compaction"),
    _fleet("pipeline_movement_age_seconds", "flow", "since a Movement that has not settled was begun"),
    _fleet(
        "pipeline_last_success_timestamp_seconds",
        "flow",
        "when the latest Movement with SUCCESS settled, as Unix time; missing if the last 50 had none",
    ),
    _fleet("pipeline_set_aside_records", "flow", "rejected records at the end of the latest settled Movement"),
    _fleet("pipeline_files_outstanding", "flow", "Event Files that are listed and not imported, of a Movement under way"),
    _fleet(
        "pipeline_bytes_outstanding",
        "flow",
        "bytes of these Event Files, as they are stored; in a group of which some are imported, by the mean size of what the "
        "Movement has added",
    ),
    _fleet("pipeline_queue_visible", "queue", "messages that wait"),
    _fleet("pipeline_queue_inflight", "queue", "messages that workers hold"),
    _fleet("pipeline_queue_dead", "queue", "messages in the dead-letter queue"),
    _fleet("pipeline_queue_oldest_seconds", "queue", "age of the oldest message that waits; embedded queues alone"),
    Metric("pipeline_build_info", Kind.GAUGE, ("version",), "1, with the version of the process"),
)  # fmt: skip
