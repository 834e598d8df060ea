"""An SQLite database as a source."""
