"""The command line in a directory of its own."""

from __future__ import annotations

from tests.cli.conftest import pipeline

__all__ = ["pipeline"]
