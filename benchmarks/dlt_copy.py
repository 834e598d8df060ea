"""Copies the table `item` from one PostgreSQL database to another with dlt and its pyarrow backend.

    python dlt_copy.py SOURCE_URI DESTINATION_URI

It runs in its own environment (others.txt), and follows dlt's documentation of its SQL source.
"""

from __future__ import annotations

import sys
from urllib.parse import parse_qs, quote, urlsplit

import dlt
from dlt.sources.sql_database import sql_table


def by_field(uri: str) -> dict[str, object]:
    """Return credentials for a server on a Unix socket: dlt cannot read the socket's directory from a URI."""
    parts = urlsplit(uri)
    host = quote(parse_qs(parts.query)["host"][0], safe="")
    return {"host": host, "port": 5432, "username": parts.username, "password": "-", "database": parts.path[1:]}


def main(source: str, destination: str) -> None:
    """Copy the table."""
    table = sql_table(credentials=source, table="item", backend="pyarrow", chunk_size=50_000)
    pipeline = dlt.pipeline(
        "bench", destination=dlt.destinations.postgres(credentials=by_field(destination)), dataset_name="bench"
    )
    print(pipeline.run(table, write_disposition="replace"))


main(sys.argv[1], sys.argv[2])
