"""Notes how many rejected records a destination tries again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from pipeline.connectors.sql.rejected_record import RejectedRecord


def noted_retries(file_load: type[Any], monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list to which each `retry` of the class `file_load` adds the number of its records."""
    found: list[int] = []
    retry = file_load.retry

    def noting(self: object, records: Sequence[RejectedRecord]) -> None:
        found.append(len(records))
        retry(self, records)

    monkeypatch.setattr(file_load, "retry", noting)
    return found
