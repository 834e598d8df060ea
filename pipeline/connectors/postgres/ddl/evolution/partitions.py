"""Partitions that the source has changed."""

from __future__ import annotations

from pipeline.connectors.postgres.ddl.create_table import Native, name_of, run_single
from pipeline.connectors.postgres.session.connection import Connection
from pipeline.connectors.sql.identifiers import qualified, quoted


def follow_partition_columns(connection: Connection, before: Native, now: Native) -> None:
    """Take from partitions the defaults and NOT NULL that they no longer have of their own."""
    parents = {column["name"]: column for column in now["columns"]}
    partitions = {name_of(partition): partition for partition in now.get("partitions", ())}
    for partition in before.get("partitions", ()):
        columns = {it["name"]: it for it in partitions.get(name_of(partition), {}).get("columns", ())}
        for was in partition.get("columns", ()):
            wanted = columns.get(was["name"], parents.get(was["name"]))
            if wanted is None or name_of(partition) not in partitions:
                continue
            alter = f"ALTER TABLE {qualified(*name_of(partition))} ALTER COLUMN {quoted(was['name'])}"
            if was["default"] is not None and was["default"] != wanted["default"]:
                run_single(connection, f"{alter} DROP DEFAULT")
            if was["not_null"] and not wanted["not_null"]:
                run_single(connection, f"{alter} DROP NOT NULL")
