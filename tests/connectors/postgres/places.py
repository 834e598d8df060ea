"""Empty databases for tests, and their contents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import uuid4

import psycopg

from tests.servers.postgresql import PostgresqlServer


@dataclass(frozen=True, slots=True)
class Place:
    """An empty database."""

    uri: str

    def run(self, *statements: str) -> None:
        """Run statements, each in its own transaction."""
        with psycopg.connect(self.uri, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def as_user(self, user: str) -> str:
        """Return the address of the database for another user."""
        assert "postgres:@" in self.uri
        return self.uri.replace("postgres:@", f"{user}:@", 1)

    def rows(self, query: str, parameters: Sequence[object] = ()) -> list[tuple[object, ...]]:
        """Return the rows of a query."""
        with psycopg.connect(self.uri, autocommit=True) as connection:
            return connection.execute(query.encode(), parameters or None).fetchall()


def place_factory(server: PostgresqlServer, options: str = "") -> Callable[[], Place]:
    """Return a function that creates an empty database. `options` are those of CREATE DATABASE."""

    def make() -> Place:
        name = f"test_{uuid4().hex[:12]}"
        with psycopg.connect(server.uri("postgres"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}" {options}'.encode())
        return Place(server.uri(name))

    return make
