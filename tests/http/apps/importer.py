"""An importer of another app, with Python's standard library alone: it pulls Event Files, and loads them into SQLite.

Run it with the URL of the server, the name of the Flow, and the path of the database; the token is in PIPELINE_TOKEN.
"""

from __future__ import annotations

import json
import os
import sqlite3
import sys
import urllib.request
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote


class Api:
    """The HTTP API for one app."""

    def __init__(self, server: str, flow: str) -> None:
        self.server, self.base = server, f"/api/v1/apps/{flow}/import"

    def call(self, path: str, body: object = None) -> Any:
        """Return the JSON of an answer."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.server}{self.base}{path}", data)
        request.add_header("Authorization", f"Bearer {os.environ['PIPELINE_TOKEN']}")
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def files(self, group: str) -> Iterator[Any]:
        """Yield the Event Files of a group, which come in pages."""
        after = ""
        while after is not None:
            page = self.call(f"{group}/files{after and '?after='}{quote(after)}")
            yield from page["items"]
            after = page["next"]

    def lines(self, url: str) -> list[Any]:
        """Return the lines of an Event File: its header, and its records."""
        with urllib.request.urlopen(f"{self.server}{url}&encoding=plain", timeout=60) as answer:
            return [json.loads(line) for line in answer]


def load(db: sqlite3.Connection, header: Any, records: list[Any]) -> list[dict[str, object]]:
    """Apply records; return those that the app does not accept."""
    refused: list[dict[str, object]] = []
    table, keys = header["table"], header["primaryKeys"]
    names = [column["name"] for column in header["columns"]]
    quoted = ", ".join(f'"{name}"' for name in names)
    with db:
        db.execute(f'CREATE TABLE IF NOT EXISTS "{table}"({quoted}, PRIMARY KEY({", ".join(keys)}))')
        for number, record in enumerate(records, 2):
            ((kind, row),) = record.items()
            if row.get("name") == "refuse me":
                refused.append({"line": number, "reason": "no such name here", "column": "name"})
            elif kind == "delete":
                db.execute(
                    f'DELETE FROM "{table}" WHERE {" AND ".join(f"{key} = ?" for key in keys)}', [row[k] for k in keys]
                )
            else:
                db.execute(
                    f'INSERT OR REPLACE INTO "{table}" VALUES({", ".join("?" * len(names))})', [row[n] for n in names]
                )
    return refused


def main(server: str, flow: str, path: str) -> None:
    """Import one Movement to its end."""
    api, db, seen = Api(server, flow), sqlite3.connect(path), ""
    while not (state := api.call(f"?wait=5&seen={seen}"))["settled"]:
        seen = state["version"]
        for group in state["groups"]:
            for file in api.files(f"/{state['movement']}/groups/{quote(group['label'])}"):
                if not file["imported"]:
                    header, *records = api.lines(file["url"])
                    report = {"file": file["file"], "status": "imported", "refused": load(db, header, records)}
                    api.call(f"/{state['movement']}/status", {"files": [report]})
    print(json.dumps(state))


if __name__ == "__main__":
    main(*sys.argv[1:])
