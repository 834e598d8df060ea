"""Odd tables as streams, and reading while the app works."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from dataclasses import replace

import anyio
import psycopg
import pytest
from anyio.to_thread import run_sync

from pipeline.connectors.postgres import PostgresSource
from pipeline.connectors.postgres.reading import ranges
from pipeline.connectors.postgres.session import connection
from pipeline.domain.errors import ConfigurationError, TransientError, UnreadableError
from pipeline.ports.source import UpsertSink
from tests.connectors.postgres.places import Place
from tests.connectors.postgres.reading import read_all
from tests.contracts.source import StreamContent, read_stream


async def test_the_tables_of_an_app_are_streams_and_nothing_else_is(place: Place) -> None:
    place.run(
        "CREATE SCHEMA sales",
        'CREATE SCHEMA "Odd.Schema"',
        "CREATE SCHEMA _pipeline",
        "CREATE TABLE _pipeline.marks (flow text, event_file text)",
        "CREATE TABLE _pipeline.jobs (id int PRIMARY KEY)",
        "CREATE TABLE _pipeline_jobs (id int PRIMARY KEY)",
        "CREATE TABLE a (id int PRIMARY KEY)",
        "CREATE TABLE sales.a (id int PRIMARY KEY)",
        'CREATE TABLE "sales.a" (id int PRIMARY KEY)',
        'CREATE TABLE "Odd.Schema"."T ""%s"" \\ {}" ("select" int PRIMARY KEY, "a""b%%s\'" text, "😀\n" int)',
        'INSERT INTO "Odd.Schema"."T ""%s"" \\ {}" VALUES (1, \'x\', 2)',
        "CREATE VIEW v AS SELECT 1 AS one",
        "CREATE MATERIALIZED VIEW m AS SELECT 1 AS one",
        "CREATE SEQUENCE s",
        "CREATE UNLOGGED TABLE u ()",
        "INSERT INTO u DEFAULT VALUES",
    )
    read = await read_all(PostgresSource(place.uri))
    odd = '"Odd.Schema"."T ""%s"" \\ {}"'
    assert list(read) == sorted(['"sales.a"', "@schema", "_pipeline.jobs", "_pipeline_jobs", odd, "a", "sales.a", "u"])
    assert read[odd].rows == [{"select": 1, "a\"b%%s'": "x", "😀\n": 2}]
    assert [row["$dup"] for row in read["u"].rows] == [0]


async def test_a_partitioned_table_is_one_stream_and_an_inheriting_one_its_own(place: Place) -> None:
    place.run(
        "CREATE TABLE p (id int PRIMARY KEY, v text) PARTITION BY RANGE (id)",
        "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10)",
        "CREATE TABLE p2 (v text, id int NOT NULL)",
        "ALTER TABLE p ATTACH PARTITION p2 FOR VALUES FROM (10) TO (20)",
        "INSERT INTO p VALUES (15, 'b'), (5, 'a'), (6, 'c')",
        "CREATE TABLE base (id int PRIMARY KEY)",
        "CREATE TABLE child (extra int, PRIMARY KEY (id)) INHERITS (base)",
        "INSERT INTO base VALUES (1)",
        "INSERT INTO child VALUES (2, 3)",
    )
    read = await read_all(PostgresSource(place.uri))
    assert {name: stream.rows for name, stream in read.items()} == {
        "p": [{"id": 5, "v": "a"}, {"id": 6, "v": "c"}, {"id": 15, "v": "b"}],
        "base": [{"id": 1}],
        "child": [{"id": 2, "extra": 3}],
    }


async def test_records_have_identity_columns_and_no_generated_ones(place: Place) -> None:
    place.run(
        "CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a int, twice int GENERATED ALWAYS AS (a * 2) STORED)",
        "INSERT INTO t (a) VALUES (7)",
    )
    assert (await read_all(PostgresSource(place.uri)))["t"].rows == [{"id": 1, "a": 7}]


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ("(a int, b int, PRIMARY KEY (b, a))", ("b", "a")),
        ("(a int NOT NULL UNIQUE, b int)", ("a",)),
        ("(a int UNIQUE, b int NOT NULL, c int NOT NULL, UNIQUE (b, c))", ("b", "c")),
        ("(a int UNIQUE)", ("$row", "$dup")),
        ("(a int NOT NULL UNIQUE DEFERRABLE)", ("$row", "$dup")),
        ("(a int)", ("$row", "$dup")),
    ],
)
async def test_the_key_of_a_table(place: Place, table: str, key: tuple[str, ...]) -> None:
    place.run(f"CREATE TABLE t {table}")
    assert (await read_all(PostgresSource(place.uri)))["t"].schema.primary_keys == key


async def test_rows_without_a_key_are_identified_by_content_and_number(place: Place) -> None:
    place.run("CREATE TABLE t (a int, b text)", "INSERT INTO t VALUES (1, ''), (1, ''), (1, NULL), (2, ''), (1, '')")
    before = (await read_all(PostgresSource(place.uri)))["t"]
    by_row: dict[object, list[object]] = {}
    for row in before.rows:
        by_row.setdefault(row["$row"], []).append(row["$dup"])
    assert sorted(map(tuple, by_row.values())) == [(0,), (0,), (0, 1, 2)]
    assert Counter((row["a"], row["b"]) for row in before.rows) == {(1, ""): 3, (1, None): 1, (2, ""): 1}
    place.run("DELETE FROM t WHERE ctid = '(0,1)'", "INSERT INTO t VALUES (3, NULL)", "VACUUM FULL t")
    after = (await read_all(PostgresSource(place.uri)))["t"]
    assert len(set(before.content.keys) - set(after.content.keys)) == 1
    assert len(set(after.content.keys) - set(before.content.keys)) == 1
    (described,) = [before.schema.native["postgresql"]]
    assert isinstance(described, dict)
    digests = place.rows(f"SELECT DISTINCT {described['row_key']['digest']} FROM t")
    assert {digest for (digest,) in digests} == {key[0] for key in after.content.keys}


async def test_a_text_key_is_read_in_the_order_of_its_bytes_whatever_its_collation(place: Place) -> None:
    """The collation of a domain is not listed as a difference from its type's."""
    collations = [
        name for (name,) in place.rows("SELECT collname FROM pg_collation WHERE collname ~ '^(und|en)-x-icu$'")
    ]
    if not collations:
        pytest.skip("this server has no ICU collation")
    place.run(
        f'CREATE DOMAIN word AS text COLLATE "{collations[0]}"',
        "CREATE TABLE t (id word PRIMARY KEY)",
        f'CREATE TABLE u (id text COLLATE "{collations[0]}" PRIMARY KEY)',
        "INSERT INTO t VALUES ('b'), ('B'), ('a'), ('A'), ('ä'), ('_')",
        "INSERT INTO u SELECT id FROM t",
    )
    read = await read_all(PostgresSource(place.uri))
    for name in ("t", "u"):
        assert read[name].content.keys == [("A",), ("B",), ("_",), ("a",), ("b",), ("ä",)]


@pytest.mark.parametrize("table", ["id bigint", 'id text COLLATE "C"', "id uuid"])
async def test_a_large_table_is_read_the_same_in_ranges_and_at_once(
    place: Place, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {"uuid": "md5(n::text)::uuid", "bigint": "n * 1000 - 7000000"}.get(table.split()[1], "md5(n::text)")
    place.run(
        f"CREATE TABLE t ({table} PRIMARY KEY, v text)",
        f"INSERT INTO t SELECT {values}, repeat('x', n % 50) FROM generate_series(1, 20000) AS n",
        "ANALYZE t",
        "DELETE FROM t WHERE length(v) = 13",
    )
    monkeypatch.setattr(ranges, "READERS", 3)
    found = []
    for rows in (700, 10**9):
        monkeypatch.setattr(ranges, "RANGE_ROWS", rows)
        found.append((await read_all(PostgresSource(place.uri)))["t"].content)
    assert found[0] == found[1]


async def test_rows_of_many_megabytes_are_read_one_at_a_time(place: Place) -> None:
    place.run(
        "CREATE TABLE t (id int PRIMARY KEY, v bytea)",
        "INSERT INTO t SELECT n, decode(repeat('00', 6000000), 'hex') FROM generate_series(1, 4) AS n",
    )
    blocks_of_one = []
    async with PostgresSource(place.uri).open_snapshot() as snapshot:
        (schema,) = await snapshot.streams()
        async with snapshot.open_rows(schema) as blocks:
            async for block in blocks:
                line = await block.upserts([0], UpsertSink(StreamContent().store))
                blocks_of_one.append((block.keys(), len(line)))
    assert [keys for keys, _ in blocks_of_one] == [[(1,)], [(2,)], [(3,)], [(4,)]]
    assert {size for _, size in blocks_of_one} == {8_000_000 + len(b'{"upsert":{"id":1,"v":{"$bytes":""}}}\n')}


async def test_the_app_continues_while_it_is_read(place: Place) -> None:
    place.run(
        "CREATE TABLE t (id int PRIMARY KEY, v text)", "INSERT INTO t SELECT n, 'old' FROM generate_series(1, 100) AS n"
    )
    async with PostgresSource(place.uri).open_snapshot() as snapshot:
        (schema,) = await snapshot.streams()
        with psycopg.connect(place.uri, autocommit=True) as app:
            app.execute("SET lock_timeout = '1s'")
            app.execute("UPDATE t SET v = 'new'; DELETE FROM t WHERE id > 50; INSERT INTO t VALUES (1000, 'new')")
            app.execute("CREATE INDEX ON t (v)")
            app.execute("VACUUM t")
            app.execute("ALTER TABLE t SET (fillfactor = 50)")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                app.execute("SET lock_timeout = '10ms'; TRUNCATE t")
        content = await read_stream(snapshot, schema)
    assert len(content.keys) == 100
    assert all(b'"old"' in line for line in content.lines)


async def test_a_lock_of_the_app_is_transient(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connection.SESSION, "lock_timeout", "50ms")
    place.run("CREATE TABLE t (id int PRIMARY KEY)")
    with psycopg.connect(place.uri) as app:
        app.execute("LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(TransientError, match="another session holds a lock for too long"):
            await read_all(PostgresSource(place.uri))


async def test_a_lost_connection_is_transient(place: Place) -> None:
    place.run(
        "CREATE TABLE t (id int PRIMARY KEY, v text)",
        "INSERT INTO t SELECT n, repeat('x', 2000) FROM generate_series(1, 30000) AS n",
    )
    ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"

    async def read_while_connections_end() -> None:
        async with PostgresSource(place.uri).open_snapshot() as snapshot:
            (schema,) = await snapshot.streams()
            async with snapshot.open_rows(schema) as blocks:
                async for _ in blocks:
                    await run_sync(place.rows, ended)

    with pytest.raises(TransientError, match="table t: ") as caught:
        await read_while_connections_end()
    assert place.uri not in str(caught.value)


async def test_tables_are_read_by_connections_that_are_kept(place: Place) -> None:
    rows = "SELECT n, repeat('x', 4000) FROM generate_series(1, {0}) AS n"
    for number in range(4):
        place.run(
            f"CREATE TABLE t{number} (id int PRIMARY KEY, v text)", f"INSERT INTO t{number} {rows.format(number)}"
        )
    place.run(
        "CREATE TABLE large (id int PRIMARY KEY, v text)", f"INSERT INTO large {rows.format(10_000)}", "ANALYZE large"
    )
    query = (
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'pipeline export'"
    )
    async with PostgresSource(place.uri).open_snapshot() as snapshot:
        large, *small = await snapshot.streams()
        assert [len((await read_stream(snapshot, schema)).keys) for schema in small] == [0, 1, 2, 3]
        exporting = place.rows(query)
        assert len(exporting) == 2  # one has the snapshot, and one has read all tables
        async with snapshot.open_rows(large) as blocks:
            await anext(aiter(blocks))  # and no more: that connection is in the middle of a COPY
        assert len((await read_stream(snapshot, small[3])).keys) == 3
        ((reader,),) = {*place.rows(query)} - {*exporting}
        place.rows("SELECT pg_terminate_backend(%s, 5000)", (reader,))
        assert len((await read_stream(snapshot, small[2])).keys) == 2
    assert place.rows(query) == []


async def test_cancelling_does_not_wait_for_a_busy_server(place: Place) -> None:
    place.run("CREATE TABLE t (id numeric PRIMARY KEY)", "INSERT INTO t SELECT n FROM generate_series(1, 300000) AS n")
    with anyio.fail_after(60):
        async with PostgresSource(place.uri).open_snapshot() as snapshot:
            (schema,) = await snapshot.streams()
            with anyio.move_on_after(0.05):
                await read_stream(snapshot, schema)


async def test_a_missing_privilege_is_named_and_the_other_tables_are_read(place: Place) -> None:
    place.run(
        "CREATE TABLE open_to_all (id int PRIMARY KEY)",
        "CREATE TABLE hidden (id int PRIMARY KEY)",
        "CREATE TABLE filtered (id int PRIMARY KEY)",
        "ALTER TABLE filtered ENABLE ROW LEVEL SECURITY",
        "DROP ROLE IF EXISTS reader",
        "CREATE ROLE reader LOGIN",
        "GRANT SELECT ON open_to_all, filtered TO reader",
    )
    async with PostgresSource(place.uri.replace("postgres:@", "reader@")).open_snapshot() as snapshot:
        objects, filtered, hidden, open_to_all = await snapshot.streams()
        assert objects.stream == "@schema"
        assert (await read_stream(snapshot, open_to_all)).keys == []
        with pytest.raises(UnreadableError, match="the privilege SELECT is missing"):
            await read_stream(snapshot, hidden)
        with pytest.raises(UnreadableError, match='row-level security policy for table "filtered"'):
            await read_stream(snapshot, filtered)


async def test_an_unreachable_server_is_transient() -> None:
    with pytest.raises(
        TransientError, match=r"postgresql://user@127\.0\.0\.1:1/app: the server does not answer"
    ) as caught:
        await read_all(PostgresSource("postgresql://user:secret@127.0.0.1:1/app"))
    assert "secret" not in str(caught.value)


async def test_a_table_with_many_columns_is_read(place: Place) -> None:
    columns = ", ".join(f"c{number} {('int', 'text', 'timestamptz', 'float8')[number % 4]}" for number in range(600))
    place.run(f"CREATE TABLE t (id int PRIMARY KEY, {columns})", "INSERT INTO t (id, c599) VALUES (1, 1.5)")
    (row,) = (await read_all(PostgresSource(place.uri)))["t"].rows
    assert len(row) == 601
    assert row["c599"] == 1.5


async def test_rows_are_not_read_in_the_order_of_another_key(place: Place) -> None:
    place.run("CREATE TABLE t (id int PRIMARY KEY, other int)", "INSERT INTO t VALUES (1, 2)")
    async with PostgresSource(place.uri).open_snapshot() as snapshot:
        (schema,) = await snapshot.streams()
        with pytest.raises(ConfigurationError, match=r"its key is id, .* the order of other"):
            async with snapshot.open_rows(replace(schema, primary_keys=("other",))):
                pass


async def test_rows_are_received_more_than_16_kilobytes_at_a_time(place: Place) -> None:
    async with PostgresSource(place.uri).open_snapshot() as snapshot:
        connection = await snapshot._readers.take()
        with closing(connection):
            pgconn = connection.pgconn
            pgconn.send_query(b"COPY (SELECT repeat('x', 999) FROM generate_series(1, 100)) TO STDOUT")
            active = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND datname = current_database()"
            while place.rows(active) != [(1,)]:  # noqa: ASYNC110  # until all is sent: the socket holds as much
                await anyio.sleep(0.01)
            pgconn.consume_input()
            assert pgconn.get_result() is not None
            received = 0
            while (row := pgconn.get_copy_data(1))[0] > 0:
                received += row[0]
    assert received > 90_000
