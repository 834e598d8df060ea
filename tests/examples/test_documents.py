"""A database is moved into a store of documents: every table, whatever its key."""

from __future__ import annotations

import json
from pathlib import Path

from tests.examples.moving import EXAMPLES, change, move

EXAMPLE = EXAMPLES / "documents" / "documents.py"


def documents(folder: Path) -> dict[tuple[str, str], dict[str, object]]:
    """Return the documents by their tables and keys. Nothing else is in the folders."""
    assert [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".json"] == []
    found = [(path.parent.name, json.loads(path.read_text())) for path in folder.rglob("*.json")]
    return {(table, json.dumps(document["key"])): document["row"] for table, document in found}


async def test_a_database_is_moved_into_a_store_of_documents(tmp_path: Path) -> None:
    source, folder, home = tmp_path / "shop.db", tmp_path / "documents", tmp_path / "home"
    settings = {"destination_settings": {"folder": str(folder)}}
    change(source, "CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT)")
    change(source, "CREATE TABLE 'odd/table' (a TEXT NOT NULL, b INT NOT NULL, note TEXT, PRIMARY KEY (a, b))")
    change(source, "INSERT INTO people VALUES (1, 'Ada'), (2, NULL), (3, 'Grace')")
    change(source, "INSERT INTO 'odd/table' VALUES ('x/../y', 1, 'n'), ('x', 2, '')")
    await move(source, f"{EXAMPLE}:importer", home, **settings)
    assert documents(folder) == {
        ("people", "1"): {"id": 1, "name": "Ada"},
        ("people", "2"): {"id": 2, "name": None},
        ("people", "3"): {"id": 3, "name": "Grace"},
        ("odd%2Ftable", '["x/../y", 1]'): {"a": "x/../y", "b": 1, "note": "n"},
        ("odd%2Ftable", '["x", 2]'): {"a": "x", "b": 2, "note": ""},
    }
    change(source, "DELETE FROM people WHERE id = 1", "UPDATE people SET name = 'Edsger' WHERE id = 2")
    change(source, "UPDATE 'odd/table' SET note = 'changed' WHERE b = 2")
    await move(source, f"{EXAMPLE}:importer", home, **settings)
    await move(source, f"{EXAMPLE}:importer", home, **settings)
    assert documents(folder) == {
        ("people", "2"): {"id": 2, "name": "Edsger"},
        ("people", "3"): {"id": 3, "name": "Grace"},
        ("odd%2Ftable", '["x/../y", 1]'): {"a": "x/../y", "b": 1, "note": "n"},
        ("odd%2Ftable", '["x", 2]'): {"a": "x", "b": 2, "note": "changed"},
    }
