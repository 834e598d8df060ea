"""Passwords: where they may come from, and that a wrong one is told without being shown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import anyio
import pytest

from pipeline.connectors.postgres import PostgresSource
from pipeline.domain.errors import ConfigurationError
from tests.connectors.postgres.places import place_factory
from tests.servers.postgresql import PostgresqlServer

PASSWORD = "correct:horse battery%staple"
QUOTED = "correct%3Ahorse%20battery%25staple"


@pytest.fixture(scope="module")
def guarded(postgresql: PostgresqlServer) -> Iterator[str]:
    """The address of a database for a role that the server asks for a password."""
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


def test_a_password_in_the_url_is_taken(guarded: str) -> None:
    open_once(guarded.replace("@", f":{QUOTED}@"))


def test_a_password_in_the_environment_is_taken(guarded: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    open_once(guarded)


def test_a_password_in_a_pass_file_is_taken(guarded: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "passwords"
    file.write_text("*:*:*:*:" + PASSWORD.replace(":", "\\:") + "\n")
    file.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(file))
    open_once(guarded)


@pytest.mark.parametrize(
    ("password", "words"), [(":wrong-secret", "password authentication failed"), ("", "no password")]
)
def test_a_wrong_password_is_told_and_not_shown(guarded: str, password: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        open_once(guarded.replace("@", f"{password}@"))
    message = str(caught.value)
    assert "PGPASSWORD" in message
    assert "wrong-secret" not in message
    assert PostgresSource(guarded).location in message
