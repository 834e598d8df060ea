"""Passwords: where they may come from, and that no message shows them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import anyio
import pytest

from pipeline.codec.event_files.compression import Decoder, sniff
from pipeline.connectors.postgres import PostgresSource
from pipeline.domain.errors import ConfigurationError
from tests.connectors.postgres.places import place_factory
from tests.servers.postgresql import PostgresqlServer

PASSWORD = "correct:horse battery%staple"
QUOTED = "correct%3Ahorse%20battery%25staple"


@pytest.fixture(scope="module")
def guarded(postgresql: PostgresqlServer) -> Iterator[str]:
    """The URL of a database for a role that needs a password."""
    place = place_factory(postgresql)()
    role = f"guarded_{uuid4().hex[:8]}"
    place.run(f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'")
    ((file,),) = place.rows("SHOW hba_file")
    rules = Path(str(file))
    before = rules.read_text()
    rules.write_text(f"local all {role} scram-sha-256\n{before}")
    place.run("SELECT pg_reload_conf()")
    yield place.uri.replace("postgres:@", f"{role}@")
    rules.write_text(before)
    place.run("SELECT pg_reload_conf()", f"DROP ROLE {role}")


@pytest.fixture(autouse=True)
def _without_password(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("PGPASSWORD", raising=False)
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "absent"))


def open_once(uri: str) -> None:
    async def main() -> None:
        async with PostgresSource(uri).open_snapshot() as snapshot:
            assert await snapshot.streams() == []

    anyio.run(main)


def test_a_password_in_the_url_is_used(guarded: str) -> None:
    open_once(guarded.replace("@", f":{QUOTED}@"))


def test_a_password_in_the_environment_is_used(guarded: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    open_once(guarded)


def test_a_password_in_a_pass_file_is_used(guarded: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "passwords"
    file.write_text("*:*:*:*:" + PASSWORD.replace(":", "\\:") + "\n")
    file.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(file))
    open_once(guarded)


@pytest.mark.parametrize(
    ("password", "words"), [(":wrong-secret", "password authentication failed"), ("", "no password")]
)
def test_the_error_for_a_wrong_password_does_not_show_it(guarded: str, password: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        open_once(guarded.replace("@", f"{password}@"))
    message = str(caught.value)
    assert "PGPASSWORD" in message
    assert "wrong-secret" not in message
    assert PostgresSource(guarded).location in message


def test_a_password_is_neither_shown_nor_stored(postgresql: PostgresqlServer, tmp_path: Path) -> None:
    source, destination = place_factory(postgresql)(), place_factory(postgresql)()
    source.run("CREATE TABLE item (id int PRIMARY KEY)", "INSERT INTO item VALUES (1)")
    secret = "only-here-f3b1"
    uris = [place.uri.replace("@", f":{secret}@") for place in (source, destination)]
    command = [sys.executable, "-m", "pipeline", "move", *uris, "--home", "home", "--debug"]
    environment = {**os.environ, "PIPELINE_LOG_LEVEL": "debug", "PIPELINE_LOG_FORMAT": "json"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=True)
    assert b"event" in done.stderr
    shown = [done.stdout, done.stderr, *(str(row).encode() for row in destination.rows("TABLE _pipeline.streams"))]
    stored = [path.read_bytes() for path in (tmp_path / "home").rglob("*") if path.is_file()]
    assert stored
    unpacked = [b"".join(Decoder(sniff(content[:4])).feed(content)) for content in stored]
    assert not [content for content in (*shown, *stored, *unpacked) if secret.encode() in content]
    assert destination.rows("SELECT id FROM item") == [(1,)]
