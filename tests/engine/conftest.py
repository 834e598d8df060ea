"""Fixtures of the engine's tests."""

from __future__ import annotations

from tests.connectors.conftest import make

__all__ = ["make"]
