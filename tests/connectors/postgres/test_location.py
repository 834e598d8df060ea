"""The canonical URL of a PostgreSQL database, which never has a password."""

from __future__ import annotations

import pytest

from pipeline.connectors.postgres import PostgresSource
from pipeline.connectors.postgres.session.location import parse_location
from pipeline.domain.errors import ConfigurationError


@pytest.fixture(autouse=True)
def _without_libpq_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGHOST", "PGPORT", "PGDATABASE", "PGUSER", "PGSERVICE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        (
            "postgresql://user:secret@DB.example.com/app?sslmode=verify-full",
            "postgresql://user@db.example.com:5432/app?sslmode=verify-full",
        ),
        ("postgres://user@db.example.com:5432/app", "postgresql://user@db.example.com:5432/app"),
        ("postgresql:///app?host=/run/postgresql&user=me&password=secret", "postgresql://me@/app?host=/run/postgresql"),
        ("postgresql:///app?host=/run/pg&port=5433", "postgresql:///app?host=/run/pg&port=5433"),
        (
            "postgresql://a:1,b:2/app?target_session_attrs=primary",
            "postgresql://a:1,b:2/app?target_session_attrs=primary",
        ),
        ("postgresql://[::1]/a%20b", "postgresql://[::1]:5432/a%20b"),
        ("postgresql://some%40body@host", "postgresql://some%40body@host:5432/some%40body"),
        ("postgresql://?service=crm", "postgresql:///?service=crm"),
    ],
)
def test_one_place_has_one_url(text: str, url: str) -> None:
    assert parse_location(text).url == url
    assert PostgresSource(text).location == url
    assert parse_location(url).url == url


def test_missing_parts_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "db.example.com")
    monkeypatch.setenv("PGPORT", "6543")
    assert parse_location("postgresql:///app").url == "postgresql://db.example.com:6543/app"


def test_a_password_is_not_shown() -> None:
    location = parse_location("postgresql://user:secret@host/app?sslpassword=hidden")
    assert "secret" not in f"{location!r} {location} {location.url}"
    assert "hidden" not in f"{location!r} {location} {location.url}"


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://user:secret%zz@host/app",
        "postgresql://user:secret@host/app?unknown=secret",
        "postgresql://user:secret@[::1/app",
        "mysql://user:secret@host/app",
        "host=x password=secret",
        "",
    ],
)
def test_the_error_for_an_unreadable_url_does_not_quote_it(text: str) -> None:
    with pytest.raises(ConfigurationError, match="postgresql://") as caught:
        parse_location(text)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None
