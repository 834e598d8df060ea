"""Traces with OpenTelemetry, which is an extra. Its configuration, and where spans go, is that of the process."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_FIELD = "traceparent"
_PROPAGATOR = TraceContextTextMapPropagator()


class OpenTelemetryTracer:
    """Implements `pipeline.ports.tracer.Tracer`."""

    def __init__(self) -> None:
        self._tracer = trace.get_tracer_provider().get_tracer("pipeline")

    @property
    def traceparent(self) -> str:
        carrier: dict[str, str] = {}
        _PROPAGATOR.inject(carrier)
        return carrier.get(_FIELD, "")

    @contextmanager
    def span(self, name: str, parent: str = "", **attributes: str | int) -> Iterator[None]:
        context = _PROPAGATOR.extract({_FIELD: parent}) if parent else None
        # The message of an error may quote a record, so that its type alone is noted.
        with self._tracer.start_as_current_span(
            name, context, attributes=attributes, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                yield
            except Exception as error:
                span.set_status(trace.StatusCode.ERROR, type(error).__name__)
                raise

    def note(self, name: str, seconds: float) -> None:
        ended = time.time_ns()
        self._tracer.start_span(name, start_time=ended - round(seconds * 1e9)).end(ended)
