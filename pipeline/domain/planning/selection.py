"""Which streams a Movement moves: those named by `--only`, without those named by `--exclude`."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from pipeline.domain.errors import ConfigurationError
from pipeline.domain.ids import StreamName
from pipeline.domain.schema import StreamSchema


def selected(stream: StreamName, only: Sequence[str], exclude: Sequence[str]) -> bool:
    """Whether a stream is to be moved: named by one of `only` (if there are any), and by none of `exclude`."""
    if only and not any(fnmatchcase(stream, pattern) for pattern in only):
        return False
    return not any(fnmatchcase(stream, pattern) for pattern in exclude)


def ensure_selected(
    schemas: Sequence[StreamSchema], only: Sequence[str], exclude: Sequence[str], location: str
) -> None:
    """ConfigurationError when there are streams, and none of them is to be moved."""
    if schemas and not any(selected(schema.stream, only, exclude) for schema in schemas):
        raise ConfigurationError(
            f"No stream of {location} is selected by --only and --exclude. "
            f"It has: {', '.join(repr(schema.stream) for schema in schemas[:20])}"
        )
