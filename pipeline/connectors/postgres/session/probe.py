"""Asks a PostgreSQL database whether tables can be created in it, without changing it."""

from __future__ import annotations

from anyio import to_thread

from pipeline.connectors.postgres.session.connection import connect
from pipeline.connectors.postgres.session.errors import translated
from pipeline.connectors.postgres.session.location import parse_location
from pipeline.domain.errors import ConfigurationError, RefusedError
from pipeline.ports.checks import PlaceFacts


async def probe(url: str) -> PlaceFacts:
    """Create a table in a transaction that is rolled back. TransientError when the server does not answer."""

    def ask() -> PlaceFacts:
        location = parse_location(url)
        with connect(location, "pipeline", connect_timeout_seconds=2) as connection:
            with translated(location.url):
                found = connection.execute("SELECT clock_timestamp()").fetchone()
            now = None if found is None else found[0]
            try:
                with translated(location.url):
                    connection.execute("BEGIN")
                    try:
                        connection.execute("CREATE TABLE public._pipeline_check ()")
                    finally:
                        connection.execute("ROLLBACK")
            except (ConfigurationError, RefusedError) as error:
                return PlaceFacts(str(error), now=now)
            return PlaceFacts(now=now)

    return await to_thread.run_sync(ask, abandon_on_cancel=True)
