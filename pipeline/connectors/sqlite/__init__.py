"""SQLite as a source and as a destination, on apsw."""

from pipeline.connectors.sqlite.loading.destination import SqliteDestination
from pipeline.connectors.sqlite.reading.source import SqliteSource

__all__ = ["SqliteDestination", "SqliteSource"]
