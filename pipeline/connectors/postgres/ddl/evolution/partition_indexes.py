"""The indexes that partitions have for those of their partitioned table: PostgreSQL makes them, and names them in its way."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass

from pipeline.connectors.postgres.ddl.create_table import Native, name_of, run_single
from pipeline.connectors.postgres.ddl.evolution.names import given_up
from pipeline.connectors.postgres.session.connection import Connection
from pipeline.connectors.sql.identifiers import qualified, quoted

_INDEXES = """
SELECT n.nspname, t.relname, h.inhparent, p.relname, c.oid, c.relname
FROM pg_partition_tree(to_regclass(%s)) AS tree JOIN pg_index AS i ON i.indrelid = tree.relid
JOIN pg_class AS t ON t.oid = i.indrelid JOIN pg_namespace AS n ON n.oid = t.relnamespace
JOIN pg_class AS c ON c.oid = i.indexrelid
JOIN pg_inherits AS h ON h.inhrelid = c.oid JOIN pg_class AS p ON p.oid = h.inhparent
"""


@dataclass(frozen=True, slots=True)
class MisnamedIndex:
    """An index of a partition, with its name here and at the source. It is in the partition's schema."""

    partition: Native
    oid: int
    was: str
    name: str

    def renamed(self, name: str) -> str:
        """Return the statement that renames it, and the constraint that it may stand for."""
        return f"ALTER INDEX {qualified(self.partition['schema'], self.was)} RENAME TO {quoted(name)}"


def misnamed_indexes(connection: Connection, native: Native, created: Container[str]) -> Sequence[MisnamedIndex]:
    """Return those of the partitions in `created`, given as SQL, that have another name at the source.

    One that has the name of another of them gives it up.
    """
    if not any(partition.get("inherited_indexes") for partition in native.get("partitions", ())):
        return []
    rows = connection.execute(_INDEXES, (qualified(*name_of(native)),)).fetchall()
    children = {(schema, table, parent): (oid, name) for schema, table, parent, _, oid, name in rows}
    known = {(*name_of(native), name): parent for _, _, parent, name, _, _ in rows}  # those of partitions are added
    found: list[MisnamedIndex] = []
    for partition in native["partitions"]:  # parents first
        for index in partition.get("inherited_indexes", ()):
            parent = known.get((*partition["parent"], index["of"]))
            child = children.get((*name_of(partition), parent))
            if child is None:
                continue
            known[(*name_of(partition), index["name"])] = child[0]
            if child[1] != index["name"] and qualified(*name_of(partition)) in created:
                found.append(MisnamedIndex(partition, *child, index["name"]))
    wanted = {(it.partition["schema"], it.name) for it in found}
    return [_without_name(connection, it) if (it.partition["schema"], it.was) in wanted else it for it in found]


def _without_name(connection: Connection, index: MisnamedIndex) -> MisnamedIndex:
    name = given_up(index.oid)
    run_single(connection, index.renamed(name))
    return MisnamedIndex(index.partition, index.oid, name, index.name)
