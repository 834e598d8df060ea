"""Which database of which server a URL leads to."""

from __future__ import annotations

from anyio import to_thread

from pipeline.connectors.postgres.session.connection import connect
from pipeline.connectors.postgres.session.errors import translated
from pipeline.connectors.postgres.session.location import parse_location

_IDENTITY = """
    SELECT concat_ws(' ', (SELECT system_identifier FROM pg_control_system()), pg_postmaster_start_time(), oid)
    FROM pg_database WHERE datname = current_database()
"""
"""A server that was restored from a copy has the system identifier of the other one, and another time of start."""


async def identify(url: str) -> str:
    """Return the same text for all URLs of one database. Errors as of `connect`."""

    def ask() -> str:
        location = parse_location(url)
        with connect(location, "pipeline", connect_timeout_seconds=2) as connection, translated(location.url):
            found = connection.execute(_IDENTITY).fetchone()
            return "" if found is None else str(found[0])

    return await to_thread.run_sync(ask, abandon_on_cancel=True)
