"""Log events (docs/reference/log-events.md).

structlog writes them. It is imported with the first event: its import takes a fifth of the time of a short Movement,
and most Movements log nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType

from pipeline.masking import masked

LEVELS = "debug", "info", "warning", "error"

_bound: ContextVar[Mapping[str, object]] = ContextVar("bound", default=MappingProxyType({}))


def write_with_structlog(level: str, event: str, values: Mapping[str, object]) -> None:
    """Log an event as structlog is configured."""
    import structlog

    getattr(structlog.get_logger(), level)(event, **values)


class EventLog:
    """Writes log events, each with a name and values."""

    def __init__(self) -> None:
        self._least = 0
        self._write: Callable[[str, str, Mapping[str, object]], None] = write_with_structlog
        self._watch: Callable[[str, Mapping[str, object]], None] | None = None

    def configure(self, write: Callable[[str, str, Mapping[str, object]], None], level: str = "debug") -> None:
        """Let `write` have the level, name and values of each event from `level` on."""
        self._least = LEVELS.index(level)
        self._write = write

    @property
    def level(self) -> str:
        """The lowest level that is written."""
        return LEVELS[self._least]

    @contextmanager
    def watched_by(self, watch: Callable[[str, Mapping[str, object]], None]) -> Iterator[None]:
        """Let `watch` have the name and values of each event within the block, also of levels that are not written."""
        before, self._watch = self._watch, watch
        try:
            yield
        finally:
            self._watch = before

    def debug(self, event: str, **values: object) -> None:
        """Log what may happen thousands of times."""
        self.log("debug", event, values)

    def info(self, event: str, **values: object) -> None:
        """Log what an operator follows."""
        self.log("info", event, values)

    def warning(self, event: str, **values: object) -> None:
        """Log what a person must see."""
        self.log("warning", event, values)

    def log(self, level: str, event: str, values: Mapping[str, object]) -> None:
        """Log an event at one of `LEVELS`. Secrets of authors' settings are masked in its texts."""
        is_written = LEVELS.index(level) >= self._least
        if is_written or self._watch is not None:
            values = {name: masked(value) if isinstance(value, str) else value for name, value in values.items()}
        if self._watch is not None:
            self._watch(event, values)
        if is_written:
            self._write(level, event, {**_bound.get(), **values})

    def write(self, level: str, event: str, values: Mapping[str, object]) -> None:
        """Write an event that is not the pipeline's own: nobody watches it, as its name may be any."""
        if LEVELS.index(level) >= self._least:
            self._write(level, event, {**_bound.get(), **values})


log = EventLog()


@contextmanager
def bound(**values: object) -> Iterator[None]:
    """Add `values` to each event that this task and its children log within the block."""
    before = _bound.set({**_bound.get(), **values})
    try:
        yield
    finally:
        _bound.reset(before)


def bound_value(name: str) -> str:
    """Return a value that `bound` adds here; empty if there is none."""
    return str(_bound.get().get(name, ""))
