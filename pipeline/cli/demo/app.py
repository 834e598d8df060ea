"""The app of the demo: a small order database with attachments, and one working day of changes to it.

It is odd on purpose: names with spaces, quotes and other scripts, keys of several columns, tables without rowid, and
values that are easily lost.
"""

from __future__ import annotations

import math
import os
import random
import sqlite3
from contextlib import closing
from pathlib import Path

SCHEMA = """
CREATE TABLE customers (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    email TEXT COLLATE NOCASE UNIQUE,
    credit REAL DEFAULT 0.0,
    photo BLOB
);
CREATE TABLE products (
    sku TEXT PRIMARY KEY,
    title TEXT NOT NULL,
    price NUMERIC NOT NULL DEFAULT (0)
) WITHOUT ROWID;
CREATE TABLE "order" (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    customer_id INTEGER NOT NULL REFERENCES customers (id),
    "placed at" TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,
    note
);
CREATE TABLE "order details" (
    order_id INTEGER NOT NULL REFERENCES "order" (id) ON DELETE CASCADE,
    line INTEGER NOT NULL,
    sku TEXT NOT NULL REFERENCES products (sku),
    quantity INTEGER NOT NULL CHECK (quantity > 0),
    unit_price REAL NOT NULL,
    total REAL GENERATED ALWAYS AS (quantity * unit_price) VIRTUAL,
    PRIMARY KEY (order_id, line)
);
CREATE TABLE "Größen & ""日本語"" 1" ("schlüssel" TEXT, "wert 值" ANYTHING, "select" INTEGER);
CREATE TABLE oddities (id INTEGER PRIMARY KEY, what TEXT NOT NULL, value);
CREATE INDEX "orders by customer" ON "order" (customer_id);
CREATE INDEX late_orders ON "order" ("placed at") WHERE note IS NOT NULL;
"""

ODDITIES: tuple[tuple[str, object], ...] = (
    ("no value", None),
    ("empty text", ""),
    ("empty bytes", b""),
    ("all bytes", bytes(range(256))),
    ("largest integer", 2**63 - 1),
    ("smallest integer", -(2**63)),
    ("beyond a double's whole numbers", 2**53 + 1),
    ("infinity", math.inf),
    ("minus infinity", -math.inf),
    ("a tenth", 0.1),
    ("smallest double", 5e-324),
    ("a whole number that is a real", 1.0),
    ("text that looks like a number", "0123"),
    ("text with NUL", "before\0after"),
    ("emoji", "👩‍🚀 family 👨‍👩‍👧‍👦 flag 🇳🇺"),
    ("line ends", "one\r\ntwo\nthree\u2028four"),
    ("JSON in text", '{"upsert":{"$bytes":"AAEC"}}'),
    ("quotes", 'it\'s "quoted" \\ and `ticked`'),
    ("long", "lorem ipsum " * 5_000),
)

_FILES: tuple[tuple[str, bytes], ...] = (
    ("invoices/2026/invoice 0001.txt", b"Two chairs, one table.\n"),
    ("invoices/2026/invoice 0002.txt", b"A lamp.\n"),
    ("invoices/copy of 0001.txt", b"Two chairs, one table.\n"),
    ("photos/Größe \U0001f4f7.bin", bytes(range(256)) * 400),
    ("photos/big.bin", b""),
    ("odd/.hidden", b"hidden"),
    ('odd/it\'s "odd" & 100% #1?.txt', b"odd name"),
    ("odd/ leading and trailing ", b"spaces"),
    ("odd/-rf", b"a dash"),
    ("odd/empty file", b""),
)


def build_app(database: Path, attachments: Path) -> int:
    """Create the app and return the number of its rows."""
    chance = random.Random(2026)
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.executescript(SCHEMA)
        _insert_customers(connection, range(1, 801), chance)
        _insert_products(connection, chance)
        _insert_orders(connection, range(1, 1_201), chance)
        rows = [(f"k{index}", index * 1.5 if index % 2 else str(index), index) for index in range(50)]
        connection.executemany('INSERT INTO "Größen & ""日本語"" 1" VALUES (?, ?, ?)', [*rows, *rows[:5]])
        connection.executemany("INSERT INTO oddities (what, value) VALUES (?, ?)", ODDITIES)
        connection.execute("INSERT INTO oddities (what, value) VALUES ('not UTF-8', CAST(x'66ff6f' AS TEXT))")
    build_attachments(attachments)
    return count_rows(database)


def count_rows(database: Path) -> int:
    """Return the number of rows in all tables."""
    with closing(sqlite3.connect(database)) as connection:
        return sum(
            int(connection.execute(f"SELECT count(*) FROM {quote_name(name)}").fetchone()[0])
            for name in table_names(connection)
        )


def table_names(connection: sqlite3.Connection) -> list[str]:
    """Return the names of all tables but SQLite's own."""
    query = (
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name"
    )
    return [str(name) for (name,) in connection.execute(query)]


def quote_name(name: str) -> str:
    """Return a name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def build_attachments(root: Path) -> None:
    """Create the tree of attachments: odd names, an empty file, an empty directory, a link, a file of 3 MB."""
    for name, content in _FILES:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (root / "photos" / "big.bin").write_bytes(random.Random(7).randbytes(3_000_000))
    (root / "empty directory").mkdir()
    (root / "latest invoice").symlink_to("invoices/2026/invoice 0002.txt")


def change_app(database: Path, attachments: Path) -> dict[str, int]:
    """Change a little of everything; return what was done and how often."""
    chance = random.Random(11)
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("PRAGMA foreign_keys = ON")
        before = connection.total_changes
        _insert_customers(connection, range(801, 811), chance)
        _insert_orders(connection, range(1_201, 1_216), chance)
        inserted = connection.total_changes - before
        updated = connection.execute("UPDATE customers SET credit = credit + 0.1 WHERE id % 100 = 7").rowcount
        updated += connection.execute("UPDATE oddities SET value = NULL WHERE what = 'empty text'").rowcount
        updated += connection.execute("UPDATE oddities SET value = '' WHERE what = 'no value'").rowcount
        before = connection.total_changes
        connection.execute('DELETE FROM "order" WHERE id BETWEEN 100 AND 104')
        deleted = connection.total_changes - before
    (attachments / "invoices/2026/invoice 0002.txt").write_bytes(b"A lamp, and a shade.\n")
    (attachments / "invoices/2026/invoice 0003.txt").write_bytes(b"A carpet.\n")
    (attachments / "odd/-rf").unlink()
    link = attachments / "latest invoice"
    link.unlink()
    link.symlink_to("invoices/2026/invoice 0003.txt")
    os.utime(attachments / "odd/.hidden", (1_000_000_000, 1_000_000_000))
    return {"rows inserted": inserted, "rows updated": updated, "rows deleted": deleted, "attachments touched": 5}


def _insert_customers(connection: sqlite3.Connection, ids: range, chance: random.Random) -> None:
    connection.executemany(
        "INSERT INTO customers (id, name, email, credit, photo) VALUES (?, ?, ?, ?, ?)",
        [
            (
                number,
                f"Customer {number} {chance.choice(['Åsa', '李', 'Zoë', 'Ναταλία', 'Bob'])}",
                None if number % 9 == 0 else f"c{number}@Example.org",
                chance.uniform(-1e6, 1e6),
                chance.randbytes(chance.randrange(40)) if number % 4 == 0 else None,
            )
            for number in ids
        ],
    )


def _insert_products(connection: sqlite3.Connection, chance: random.Random) -> None:
    connection.executemany(
        "INSERT INTO products VALUES (?, ?, ?)",
        [(f"SKU-{number:04d}", f"Product № {number}", chance.randrange(1, 10_000) / 100) for number in range(300)],
    )


def _insert_orders(connection: sqlite3.Connection, ids: range, chance: random.Random) -> None:
    for number in ids:
        customer, note = chance.randrange(1, 801), chance.choice([None, "", "fragile", 42])
        moment = f"2026-11-{number % 28 + 1:02d} 10:00:00"
        connection.execute('INSERT INTO "order" VALUES (?, ?, ?, ?)', (number, customer, moment, note))
        connection.executemany(
            'INSERT INTO "order details" VALUES (?, ?, ?, ?, ?)',
            [
                (number, line, f"SKU-{chance.randrange(300):04d}", chance.randrange(1, 9), chance.uniform(1, 99))
                for line in range(1, chance.randrange(2, 4) + 1)
            ],
        )
