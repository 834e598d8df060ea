"""Connectors are found by the scheme of a URL: built in, or added by another package."""

from __future__ import annotations

from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

from pipeline.connectors.locations import Location, join_urls, read_server_url, split_urls
from pipeline.connectors.registry import (
    BUILT_IN,
    ENTRY_POINT_GROUP,
    FILES,
    Connector,
    ReadOptions,
    find_connector,
    make_destination,
    make_source,
    parse_location,
)
from pipeline.connectors.sqlite import SqliteDestination, SqliteSource
from pipeline.domain.errors import ConfigurationError

OPTIONS = ReadOptions()
DOCS = Connector(
    name="document store",
    schemes=("docs",),
    is_database=True,
    read=lambda url: read_server_url("docs", url),
    source=lambda location, options: SqliteSource(Path("source.db")),
    destination=lambda location: SqliteDestination(Path("destination.db")),
)
NOT_A_CONNECTOR = "something else"


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> list[EntryPoint]:
    """Entry points as another package would declare them."""
    points: list[EntryPoint] = []

    def entry_points(*, group: str) -> EntryPoints:
        return EntryPoints(points).select(group=group)

    monkeypatch.setattr("importlib.metadata.entry_points", entry_points)
    return points


def entry(name: str, value: str) -> EntryPoint:
    return EntryPoint(name, f"tests.connectors.test_registry:{value}", ENTRY_POINT_GROUP)


def test_an_unknown_scheme_names_those_that_are_supported(added: list[EntryPoint]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_location("docs://host/crm")
    assert str(caught.value) == "unsupported URL scheme 'docs'; supported: file, postgresql, sqlite"
    added.append(entry("mail", "DOCS"))
    with pytest.raises(ConfigurationError, match="supported: file, mail, postgresql, sqlite"):
        parse_location("docs://host/crm")


def test_a_package_adds_a_connector(added: list[EntryPoint]) -> None:
    added += [entry("broken", "does_not_exist"), entry("docs", "DOCS")]
    location = parse_location("docs://user:secret@host/crm")
    assert location == Location("docs", "docs://user@host/crm", written="docs://user:secret@host/crm")
    assert "secret" not in repr(location)
    assert isinstance(make_source(location, OPTIONS), SqliteSource)
    assert isinstance(make_destination(location), SqliteDestination)


@pytest.mark.parametrize(
    ("value", "words"), [("does_not_exist", "cannot be loaded"), ("NOT_A_CONNECTOR", r"not a pipeline\.Connector")]
)
def test_a_connector_that_is_broken_is_named(added: list[EntryPoint], value: str, words: str) -> None:
    added.append(entry("docs", value))
    with pytest.raises(ConfigurationError, match=f"docs://.*{words}"):
        find_connector("docs")


def test_every_scheme_reads_what_it_writes(tmp_path: Path) -> None:
    for scheme in BUILT_IN:
        url = f"{scheme}://host/crm" if scheme.startswith("postgres") else f"{scheme}:///{tmp_path}/crm"
        location = parse_location(url)
        assert parse_location(location.url).url == location.url
        assert find_connector(location.scheme) is BUILT_IN[scheme]


def test_a_bare_path_is_what_it_looks_like(tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    tree = parse_location(str(tmp_path / "directory"))
    assert (tree.scheme, tree.path) == ("file", tmp_path / "directory")
    assert parse_location(f"{tmp_path}/new/").scheme == "file"
    assert parse_location(str(tmp_path / "new")).scheme == "sqlite"
    assert parse_location(str(tmp_path / "new"), like=tree).scheme == FILES.schemes[0]


def test_parts_of_a_place_are_read_as_they_were_written() -> None:
    urls = ["sqlite:////a%20b/app.db", "file:////files%20+%20more"]
    assert split_urls(join_urls(urls)) == urls
