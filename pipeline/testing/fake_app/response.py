"""The answer of a FakeApp to a request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Response:
    """The answer to a request: its HTTP status, its JSON body, and its headers."""

    status: int
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
