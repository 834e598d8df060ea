"""A PostgreSQL database as a source."""
