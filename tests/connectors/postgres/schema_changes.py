"""Changes of schemas between two Movements, many at a time: each case has a schema of its own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.connectors.postgres import PostgresDestination, PostgresSource
from pipeline.domain.movement import Movement
from tests.connectors.postgres.moving import Movements, equal
from tests.connectors.postgres.places import Place, place_factory
from tests.connectors.postgres.test_schema_objects import dump
from tests.servers.postgresql import PostgresqlServer

Cases = Mapping[str, tuple[Sequence[str], Sequence[str]]]
"""By the name of a case: the statements before the first Movement, and those before the second."""


@dataclass(frozen=True, slots=True)
class Moved:
    """Both databases after the second Movement: whether they are equal, objects as pg_dump writes them, and rows, by schema.

    `first_dumps`: the objects after the first Movement.
    """

    movement: Movement
    equal: bool
    dumps: tuple[Mapping[str, list[str]], Mapping[str, list[str]]]
    first_dumps: tuple[Mapping[str, list[str]], Mapping[str, list[str]]]
    rows: tuple[Mapping[str, object], Mapping[str, object]]


def rows_by_schema(place: Place) -> Mapping[str, object]:
    """Return the rows of all tables, by schema."""
    tables = place.rows(
        "SELECT n.nspname, c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace "
        "WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^(pg_|_|information)' ORDER BY 1, 2"
    )
    found: dict[str, list[object]] = defaultdict(list)
    for schema, table in tables:
        rows = place.rows(f'SELECT t::text FROM {schema}."{table}" AS t ORDER BY 1')
        found[str(schema)].append((table, [row for (row,) in rows]))
    return found


def dump_by_schema(place: Place) -> Mapping[str, list[str]]:
    """Return the objects as pg_dump writes them, by schema."""
    found: dict[str, list[str]] = defaultdict(list)
    for part in "\n".join(dump(place)).split("\n--\n-- Name: ")[1:]:
        title, _, body = part.partition("\n--\n")
        name, _, rest = title.partition("; Type: ")
        kind, _, schema = rest.partition("; Schema: ")
        found[schema.partition(";")[0] if not schema.startswith("-") else name].append(f"{kind} {name}: {body.strip()}")
    return {schema: sorted(parts) for schema, parts in found.items()}


def in_schema(place: Place, name: str, statements: Sequence[str]) -> None:
    """Run statements whose names without a schema are of this one."""
    place.run(f"SET search_path = {name}, public", *statements)


async def move_twice(postgresql: PostgresqlServer, cases: Cases) -> Moved:
    """Move the databases of all cases together, before and after their changes."""
    source, copy = place_factory(postgresql)(), place_factory(postgresql)()
    movements = Movements(PostgresSource(source.uri), PostgresDestination(copy.uri))
    for name, (setup, _) in cases.items():
        in_schema(source, name, (f"CREATE SCHEMA {name}", *setup))
    await movements.move()
    first_dumps = dump_by_schema(source), dump_by_schema(copy)
    for name, (_, changes) in cases.items():
        in_schema(source, name, changes)
    movement = await movements.move()
    dumps = dump_by_schema(source), dump_by_schema(copy)
    return Moved(movement, await equal(movements), dumps, first_dumps, (rows_by_schema(source), rows_by_schema(copy)))
