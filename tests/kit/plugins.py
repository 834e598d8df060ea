"""Plug-ins in files, as an author writes them."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

HEAD = """\
from __future__ import annotations
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from pipeline.kit import *

"""
HEAD_LINES = HEAD.count("\n")


def write_plugin(path: Path, code: str) -> Path:
    """Write a file with `code` after the usual imports; its first line is line `HEAD_LINES` + 1 of the file."""
    path.write_text(HEAD + dedent(code))
    return path
