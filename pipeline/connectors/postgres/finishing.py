"""After the load: what is better made last (constraints, indexes, sequence values), and what can be checked then."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.connectors.postgres.connection import Connection
from pipeline.domain.schema import StreamSchema
from pipeline.ports.destination import Violation


def finish_streams(connection: Connection, schemas: Sequence[StreamSchema]) -> list[Violation]:
    return []
