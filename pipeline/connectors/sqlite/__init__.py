"""SQLite as a source and as a destination, on apsw."""

from pipeline.connectors.sqlite.destination import SqliteDestination
from pipeline.connectors.sqlite.source import SqliteSource

__all__ = ["SqliteDestination", "SqliteSource"]
