"""The metrics of one process, kept by prometheus_client, which is an extra."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from pipeline.metrics.catalogue import METRICS, Kind, Metric, Place

OTHERS = "(others)"
"""The label of all streams beyond the limit."""

_Kept = Counter | Gauge | Histogram
_CLASSES: Mapping[Kind, type[Counter] | type[Gauge]] = {Kind.COUNTER: Counter, Kind.GAUGE: Gauge}


class Metrics:
    """Counts, and renders what was counted. `streams` is how many streams get a label of their own: each is several series.

    `is_server`: it also has the metrics of the whole fleet, which `serve` reads from the store.
    """

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, version: str, *, streams: int, is_server: bool = False) -> None:
        self.registry = CollectorRegistry()
        self._kept = {
            metric.name: _keep(metric, self.registry) for metric in METRICS if metric.place is Place.WORKER or is_server
        }
        self._streams: set[tuple[str, str]] = set()
        self._most = streams
        self.set("pipeline_build_info", 1, version=version)

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        """Add to a counter."""
        kept = self._of(name, labels)
        assert isinstance(kept, Counter)
        kept.inc(amount)

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Add a value to a histogram."""
        kept = self._of(name, labels)
        assert isinstance(kept, Histogram)
        kept.observe(value)

    def set(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        kept = self._of(name, labels)
        assert isinstance(kept, Gauge)
        kept.set(value)

    def set_by(self, name: str, function: Callable[[], float], **labels: str) -> None:
        """Let a gauge have what `function` returns when it is rendered. It is called in any thread."""
        kept = self._of(name, labels)
        assert isinstance(kept, Gauge)
        kept.set_function(function)

    def clear(self, name: str) -> None:
        """Forget all series of a metric."""
        self._kept[name].clear()

    def stream(self, flow: str, stream: str) -> str:
        """Return the label of a stream: its name, or `OTHERS` once there are too many."""
        if (flow, stream) not in self._streams:
            if len(self._streams) >= self._most:
                return OTHERS
            self._streams.add((flow, stream))
        return stream

    def render(self) -> bytes:
        """Return all metrics in Prometheus's text format."""
        return generate_latest(self.registry)

    def _of(self, name: str, labels: Mapping[str, str]) -> _Kept:
        kept = self._kept[name]
        return kept.labels(**labels) if labels else kept


def _keep(metric: Metric, registry: CollectorRegistry) -> _Kept:
    if metric.kind is Kind.HISTOGRAM:
        return Histogram(metric.name, metric.meaning, metric.labels, registry=registry, buckets=metric.buckets)
    return _CLASSES[metric.kind](metric.name, metric.meaning, metric.labels, registry=registry)
