"""An SQLite database as a destination."""
