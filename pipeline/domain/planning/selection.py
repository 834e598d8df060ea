"""Which streams a Movement moves: those that match `--only` and do not match `--exclude`."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from pipeline.domain.errors import ConfigurationError
from pipeline.domain.ids import StreamName
from pipeline.domain.schema import StreamSchema


def selected(stream: StreamName, only: Sequence[str], exclude: Sequence[str]) -> bool:
    """Whether a stream is moved: it matches one of `only` (if there are any) and none of `exclude`."""
    return (not only or matches(stream, only)) and not matches(stream, exclude)


def matches(stream: StreamName, patterns: Sequence[str]) -> bool:
    """Whether a stream matches one of these patterns."""
    return any(fnmatchcase(stream, pattern) for pattern in patterns)


def ensure_selected(
    schemas: Sequence[StreamSchema], only: Sequence[str], exclude: Sequence[str], location: str
) -> None:
    """Raise ConfigurationError when there are streams and none of them is selected."""
    if schemas and not any(selected(schema.stream, only, exclude) for schema in schemas):
        raise ConfigurationError(
            f"No stream of {location} is selected by --only and --exclude. "
            f"It has: {', '.join(repr(schema.stream) for schema in schemas[:20])}"
        )
