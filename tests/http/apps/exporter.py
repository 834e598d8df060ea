"""An exporter of another app, with Python's standard library alone: it uploads two tables of an SQLite database.

Run it with the URL of the server, the name of the Flow, and the path of the database; the token is in PIPELINE_TOKEN.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
import sqlite3
import sys
import time
import urllib.error
import urllib.request
from typing import Any

ROWS_A_FILE = 400
STREAMS = [
    {
        "stream": table,
        "columns": [{"name": "id", "type": "integer", "nullable": False}, {"name": "name", "type": "text"}],
        "primary_keys": ["id"],
    }
    for table in ("person", "pet")
]


class Api:
    """The HTTP API for one app."""

    def __init__(self, server: str, flow: str) -> None:
        self.base = f"{server}/api/v1/apps/{flow}/export"

    def call(self, method: str, path: str = "", body: bytes | None = None, **headers: str) -> Any:
        """Return the JSON of an answer."""
        request = urllib.request.Request(f"{self.base}{path}", body, headers, method=method)
        request.add_header("Authorization", f"Bearer {os.environ['PIPELINE_TOKEN']}")
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def post(self, path: str, document: object) -> Any:
        """Post JSON."""
        return self.call("POST", path, json.dumps(document).encode(), **{"Content-Type": "application/json"})

    def put(self, path: str, records: list[Any]) -> None:
        """Put a file of records, with its digest."""
        data = gzip.compress("".join(json.dumps(record) + "\n" for record in records).encode())
        digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
        self.call("PUT", path, data, **{"Content-Digest": f"sha-256=:{digest}:"})


def begin(api: Api) -> Any:
    """Begin an export, once the Movement before is imported."""
    while True:
        try:
            return api.post("", {"streams": STREAMS})
        except urllib.error.HTTPError as error:
            if error.code != 409:
                raise
            time.sleep(0.2)


def main(server: str, flow: str, path: str) -> None:
    """Export one Movement; an export that was interrupted goes on with the files that are missing."""
    api, db = Api(server, flow), sqlite3.connect(path)
    state = begin(api)
    number = state["movement"]
    for stream in state["streams"]:
        table, count = stream["stream"], 0
        rows = db.execute(f"SELECT id, name FROM {table} ORDER BY id")
        while part := rows.fetchmany(ROWS_A_FILE):
            if count not in stream["files"] and not stream["complete"]:
                records = [{"upsert": {"id": key, "name": name}} for key, name in part]
                api.put(f"/{number}/streams/{table}/files/{count}", records)
            count += 1
        api.post(f"/{number}/groups/{table}/complete", {"files": {table: count}})
    api.post(f"/{number}/end", {})
    print(json.dumps({"movement": number}))


if __name__ == "__main__":
    main(*sys.argv[1:])
