"""The port to traces: the engine says when work begins and ends, and which earlier work it follows."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol


class Tracer(Protocol):
    """Notes spans of work. What runs inside a span, in any task, is a part of it. It MUST NOT raise."""

    @property
    def traceparent(self) -> str:
        """The present span as W3C Trace Context writes it; empty when there is none, or nothing is traced."""
        ...

    def span(self, name: str, parent: str = "", **attributes: str | int) -> AbstractContextManager[None]:
        """Note the work of a block. `parent` is the `traceparent` of a span, perhaps of another process, that it follows."""
        ...

    def note(self, name: str, seconds: float) -> None:
        """Note work that has ended now, and took `seconds`."""
        ...


class SilentTracer:
    """A Tracer that does nothing: the default."""

    traceparent = ""

    def span(self, name: str, parent: str = "", **attributes: str | int) -> AbstractContextManager[None]:
        """Do nothing."""
        return nullcontext()

    def note(self, name: str, seconds: float) -> None:
        """Do nothing."""
