"""PostgreSQL as a source and as a destination, on psycopg."""

from pipeline.connectors.postgres.loading.destination import PostgresDestination
from pipeline.connectors.postgres.reading.source import PostgresSource
from pipeline.connectors.postgres.session.identity import identify

__all__ = ["PostgresDestination", "PostgresSource", "identify"]
