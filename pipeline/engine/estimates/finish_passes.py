"""How much work is left at the destination once all rows are loaded."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping

from pipeline.codec.event_files.constraints import constraints_of
from pipeline.domain.ids import StreamName
from pipeline.domain.schema import StreamSchema


def finish_passes(schemas: Iterable[StreamSchema], loaded: Container[StreamName]) -> Mapping[StreamName, int]:
    """Return how often a destination goes over the rows of each stream at the end: for its indexes and foreign keys.

    Those of streams that it has `loaded` before are there.
    """
    new = [schema for schema in schemas if schema.stream not in loaded]
    stated = {schema.stream: constraints_of(schema) for schema in new}
    return {stream: len(its.indexes) + len(its.foreign_keys) for stream, its in stated.items()}
