"""A service of another app that is pushed to, with Python's standard library alone: it loads records into SQLite.

Run it with the path of the database; it prints its port. The secret for signatures is in RECEIVER_SECRET (whsec_…).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import sqlite3
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from typing import Any

KEY = base64.b64decode(os.environ.get("RECEIVER_SECRET", "").removeprefix("whsec_"))
LOCK = Lock()


class Handler(BaseHTTPRequestHandler):
    """Takes begin, batch, retry and end."""

    protocol_version = "HTTP/1.1"
    db: sqlite3.Connection

    def do_POST(self) -> None:
        """Take a request, one at a time."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if not self.signed(body):
            self.answer(401, {"detail": "the signature is not valid"})
            return
        with LOCK, self.db:
            self.db.execute("CREATE TABLE IF NOT EXISTS progress(file PRIMARY KEY, have INTEGER, whole INTEGER)")
            self.db.execute("CREATE TABLE IF NOT EXISTS header(name PRIMARY KEY, json)")
            self.db.execute("CREATE TABLE IF NOT EXISTS refused(file, json)")
            take = {"begin": self.begin, "batch": self.batch, "retry": self.retry, "end": self.end}
            take.get(self.path.rpartition("/")[2], self.refuse)(body)

    def refuse(self, body: bytes) -> None:
        """Say that there is no such request."""
        self.answer(404, {"detail": f"nothing is taken at {self.path}"})

    def signed(self, body: bytes) -> bool:
        """Whether the body has the signature of Standard Webhooks."""
        text = f"{self.headers['webhook-id']}.{self.headers['webhook-timestamp']}.".encode() + body
        good = "v1," + base64.b64encode(hmac.new(KEY, text, hashlib.sha256).digest()).decode()
        return not KEY or hmac.compare_digest(good, self.headers["webhook-signature"] or "")

    def begin(self, body: bytes) -> None:
        """Say what there is of a file already."""
        wanted = json.loads(body)
        for name in (wanted["stream"], wanted["file"]):
            self.db.execute("INSERT OR REPLACE INTO header VALUES(?, ?)", (name, json.dumps(wanted["header"])))
        found = self.db.execute("SELECT have, whole FROM progress WHERE file = ?", (wanted["file"],)).fetchone()
        refused = self.db.execute("SELECT json FROM refused WHERE file = ?", (wanted["file"],)).fetchall()
        have = "nothing" if not found else "mark" if found[1] else found[0]
        self.answer(200, {"have": have, "refused": [json.loads(one) for (one,) in refused]})

    def batch(self, body: bytes) -> None:
        """Load records, and remember how many there are, in one transaction."""
        file, offset = self.headers["Pipeline-File"], int(self.headers["Pipeline-Offset"])
        lines = body.splitlines()
        refused = [{**one, "line": offset + one["line"] + 2} for one in self.load(file, lines)]
        self.db.executemany("INSERT INTO refused VALUES(?, ?)", [(file, json.dumps(one)) for one in refused])
        self.db.execute("INSERT OR REPLACE INTO progress VALUES(?, ?, 0)", (file, offset + len(lines)))
        self.answer(200, {"refused": refused})

    def retry(self, body: bytes) -> None:
        """Load records that were refused before."""
        self.answer(200, {"refused": self.load(self.headers["Pipeline-Stream"], body.splitlines())})

    def end(self, body: bytes) -> None:
        """Remember that a file is whole."""
        self.db.execute("UPDATE progress SET whole = 1 WHERE file = ?", (json.loads(body)["file"],))
        self.answer(200, {})

    def load(self, name: str, lines: list[bytes]) -> list[dict[str, Any]]:
        """Apply records of a file or stream by their keys; return those that are refused, by their places."""
        header = json.loads(self.db.execute("SELECT json FROM header WHERE name = ?", (name,)).fetchone()[0])
        table, keys, refused = header["table"], header["primaryKeys"], []
        names = [column["name"] for column in header["columns"]]
        self.db.execute(f'CREATE TABLE IF NOT EXISTS "{table}"({", ".join(names)}, PRIMARY KEY({", ".join(keys)}))')
        for place, line in enumerate(lines):
            ((kind, row),) = json.loads(line).items()
            if row.get("name") == "refuse me":
                refused.append({"line": place, "reason": "no such name here", "column": "name"})
            elif kind == "delete":
                self.db.execute(f'DELETE FROM "{table}" WHERE {keys[0]} = ?', [row[keys[0]]])
            else:
                marks = ", ".join("?" * len(names))
                self.db.execute(f'INSERT OR REPLACE INTO "{table}" VALUES({marks})', [row[name] for name in names])
        return refused

    def answer(self, status: int, document: object) -> None:
        """Answer with JSON."""
        data = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


if __name__ == "__main__":
    Handler.db = sqlite3.connect(sys.argv[1], check_same_thread=False)
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2]) if len(sys.argv) > 2 else 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()
