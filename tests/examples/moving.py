"""Moves between an example and a place."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pipeline

EXAMPLES = Path(__file__).parents[2] / "examples"


async def move(source: object, destination: object, home: Path, **options: dict[str, str]) -> pipeline.Movement:
    """Move, and return the Movement, which has succeeded. An Event File has two records at most."""
    settings = pipeline.Settings(home=home, event_file_rows=2)
    moved = await pipeline.move(str(source), str(destination), settings=settings, **options)  # type: ignore[arg-type]
    assert moved.status is pipeline.Status.SUCCESS, moved.problems
    return moved


def change(path: Path, *statements: str) -> None:
    """Change a database."""
    with closing(sqlite3.connect(path)) as database, database:
        for statement in statements:
            database.execute(statement)


def rows(path: Path, query: str) -> Sequence[tuple[object, ...]]:
    """Return the rows of a query."""
    with closing(sqlite3.connect(path)) as database:
        return database.execute(query).fetchall()
