"""A database and its owner, a user who is no superuser, as at most hosting companies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

from tests.connectors.postgres.places import Place, place_factory
from tests.servers.postgresql import PostgresqlServer


@contextmanager
def owned_place(server: PostgresqlServer) -> Iterator[tuple[Place, Place]]:
    """Yield a new database as its superuser sees it, and as its owner does."""
    place, user = place_factory(server)(), f"owner_{uuid4().hex[:8]}"
    name = place.rows("SELECT quote_ident(current_database())")[0][0]
    place.run(
        f"CREATE ROLE {user} LOGIN", f"ALTER DATABASE {name} OWNER TO {user}", f"ALTER SCHEMA public OWNER TO {user}"
    )
    try:
        yield place, Place(place.as_user(user))
    finally:
        place.run(f"REASSIGN OWNED BY {user} TO postgres", f"DROP OWNED BY {user}", f"DROP ROLE {user}")
