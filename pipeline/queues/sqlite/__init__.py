"""The embedded event queue: a table in an SQLite file."""
