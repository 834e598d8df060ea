"""PostgreSQL as a source and as a destination, on psycopg."""

from pipeline.connectors.postgres.destination import PostgresDestination
from pipeline.connectors.postgres.source import PostgresSource

__all__ = ["PostgresDestination", "PostgresSource"]
