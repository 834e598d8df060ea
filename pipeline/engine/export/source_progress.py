"""How a source that reads rows before it gives them comes along, as events."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.domain.ids import Label, StreamName
from pipeline.ports.reporter import Reporter, RowsExpected, RowsFetched


class SourceProgress:
    """A ReadProgress that reports. `labels` are the groups of the streams."""

    def __init__(self, reporter: Reporter, labels: Mapping[StreamName, Label]) -> None:
        self._reporter, self._labels = reporter, labels

    def expect(self, stream: StreamName, rows: int) -> None:
        self._reporter.report(RowsExpected(self._labels[stream], stream, rows))

    def read(self, stream: StreamName, rows: int) -> None:
        self._reporter.report(RowsFetched(self._labels[stream], rows))
