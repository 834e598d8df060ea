"""The large objects of a database: which the user may read, their digests as the server computes them, their content."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.connectors.postgres.session.connection import Connection

PIECE_BYTES = 1024 * 1024
"""How much of a content is read at a time, by us and by the server. Digests depend on it."""
_OBJECTS_AT_ONCE = 200

READABLE = """(current_setting('lo_compat_privileges')::boolean OR pg_has_role(lomowner, 'USAGE')
    OR EXISTS (SELECT FROM aclexplode(lomacl) AS a WHERE a.privilege_type = 'SELECT'
               AND (a.grantee = 0 OR pg_has_role(a.grantee, 'USAGE'))))"""
"""The condition that the user may read the object of a row of pg_largeobject_metadata. Only PostgreSQL 18 has a function
for it."""

_DIGESTS = f"""
SELECT o.oid::bigint, (SELECT sha256(string_agg(sha256(lo_get(o.oid, p.start, {PIECE_BYTES})), ''::bytea ORDER BY p.start))
                       FROM generate_series(0, greatest(s.size - 1, 0), {PIECE_BYTES}) AS p(start))
FROM (SELECT oid, lo_open(oid, 262144) AS fd FROM pg_largeobject_metadata
      WHERE oid > %s::bigint::oid AND {READABLE} ORDER BY oid LIMIT {_OBJECTS_AT_ONCE}) AS o
CROSS JOIN LATERAL (SELECT lo_lseek64(o.fd, 0, 2) AS size, lo_close(o.fd) AS closed OFFSET 0) AS s ORDER BY o.oid
"""
"""262144 is INV_READ (libpq/libpq-fs.h), 2 is SEEK_END."""


def has_large_objects(connection: Connection) -> bool:
    """Whether there is a large object that the user may read."""
    query = f"SELECT EXISTS (SELECT FROM pg_largeobject_metadata WHERE {READABLE})"
    return connection.execute(query.encode()).fetchone() == (True,)


def next_digests(connection: Connection, after: int) -> Sequence[tuple[int, bytes]]:
    """Return the oids that follow `after`, some hundred at most, each with the digest of its content.

    The digest is that of the digests of all pieces. The connection must be in a transaction.
    """
    rows = connection.execute(_DIGESTS.encode(), (after,), binary=True)
    return [(oid, bytes(digest)) for oid, digest in rows]


def read_piece(connection: Connection, oid: int, start: int) -> bytes:
    """Return at most `PIECE_BYTES` of a content; fewer only at its end."""
    query = "SELECT lo_get(%s::bigint::oid, %s, %s)"
    ((piece,),) = connection.execute(query, (oid, start, PIECE_BYTES), binary=True).fetchall()
    return bytes(piece)
