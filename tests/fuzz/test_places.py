"""Altered locations and settings are refused with advice, or read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.connectors.locations import Location, default_flow_name, path_location
from pipeline.connectors.postgres.session.location import parse_location as parse_postgres
from pipeline.connectors.registry import BUILT_IN, parse_location
from pipeline.domain.errors import ConfigurationError
from pipeline.settings import ENVIRONMENT_PREFIX, Settings, load_settings
from tests.fuzz.holding import fuzz, result_or_error
from tests.fuzz.hostile import HOSTILE_TEXTS, altered_bytes

URLS = [
    "sqlite:///app.db",
    "sqlite:////var/app%20data/app.db",
    "file:///var/data/",
    "postgresql://ann:pass-word@host-1:5432,host-2/crm?sslmode=require&application_name=x",
    "postgresql:///crm?host=/var/run/postgresql&port=5433",
    "postgres://[::1]:5432/crm",
    "/var/data/app.db",
    "mysql://host/db",
]
SECRET = "pass-word"
SETTINGS = [setting.name for setting in fields(Settings)]
ODD = "\0\n\r\t /\\:@?#%&=[]'\"\x7f\x85\udc80\ud800\uff0f\u2100\N{FULLWIDTH COMMERCIAL AT}é🙂"
TEXTS = st.one_of(
    st.sampled_from(URLS)
    .flatmap(lambda url: altered_bytes(url.encode()))
    .map(lambda data: data.decode("utf-8", "surrogateescape")),
    st.tuples(st.sampled_from(URLS), st.text(alphabet=ODD, max_size=4), st.integers(0, 60)).map(
        lambda it: it[0][: it[2]] + it[1] + it[0][it[2] :]
    ),
    st.tuples(
        st.sampled_from(["sqlite://", "file://", "postgresql://", "postgres://", "s3://", "://", ""]),
        st.text(alphabet=ODD + "abc019.-", max_size=20) | st.sampled_from(HOSTILE_TEXTS),
    ).map("".join),
)


@pytest.fixture(autouse=True)
def _in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@fuzz(1.5)
@given(TEXTS, st.sampled_from([None, *(path_location(scheme, Path("there")) for scheme in BUILT_IN)]))
def test_a_location_is_refused_or_has_one_name_without_its_secret(text: str, like: Location | None) -> None:
    found = result_or_error(lambda: parse_location(text, like=like))
    if found is None:
        return
    found.url.encode()
    default_flow_name(found, found).encode()
    if f":{SECRET}@" in text and found.scheme == "postgresql":
        assert SECRET not in found.url.partition("@")[0]
    if found.path is not None:
        assert found.path.is_absolute()
        assert parse_location(found.url) == found


@fuzz(1)
@given(TEXTS)
def test_a_database_is_refused_or_has_one_name_without_its_secret(text: str) -> None:
    found = result_or_error(lambda: parse_postgres(text))
    if found is not None:
        found.url.encode()
        if found.parameters.get("password") == SECRET:
            assert SECRET not in found.url


TOML = """
home = "there"
store = "s3://bucket/prefix"
exports_queue = "sqs://exports"
event_file_bytes = 1_000_000
zstd_level = -3
queue_visibility_seconds = 60.5
s3_path_style = true
log_level = "info"
aws_secret_access_key = "pass-word"
"""
VALUES = st.sampled_from(
    [
        "0x" + "f" * 8000,
        "9" * 5000,
        "-1",
        "nan",
        "inf",
        "1e400",
        '"x"',
        '""',
        '"\\u0000"',
        "true",
        "1979-05-27T07:32:00Z",
        "[" * 300 + "]" * 300,
        "[" * 50_000 + "]" * 50_000,
        "{a = 1}",
        '"' + "x" * 100_000 + '"',
        "[" + '"x", ' * 10_000 + "]",
    ]
)


@st.composite
def altered_toml(draw: st.DrawFn) -> bytes:
    """Settings with an altered value or altered bytes."""
    if draw(st.booleans()):
        return draw(altered_bytes(TOML.encode()))
    name = draw(st.sampled_from([*SETTINGS, "nothing", "a.b", '"quoted name"', "x" * 5000]))
    return f"{name} = {draw(VALUES)}\n".encode()


@fuzz(1)
@given(altered_toml())
def test_a_settings_file_is_refused_by_name_or_read(data: bytes) -> None:
    path = Path("pipeline.toml").absolute()
    path.write_bytes(data)
    found = result_or_error(lambda: load_settings(path), naming=str(path))
    if found is not None:
        assert SECRET not in repr(found)


@contextmanager
def environment(values: dict[str, str]) -> Iterator[None]:
    """Set environment variables for a while, as far as the system accepts them."""
    before = dict(os.environ)
    try:
        os.environ.update(values)
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


ENVIRONMENT_TEXTS = (
    st.text(alphabet=ODD.replace("\0", "").replace("\ud800", "") + "abc019.-", max_size=20)
    | st.sampled_from([text for text in HOSTILE_TEXTS if "\0" not in text])
    | st.sampled_from(["9" * 5000, "nan", "inf", "-inf", "1e999", "[" * 100_000, "0x10", "1_000", " 7 ", "true", "{}"])
)


@fuzz(1)
@given(st.dictionaries(st.sampled_from(SETTINGS), ENVIRONMENT_TEXTS, min_size=1, max_size=3))
def test_the_environment_is_refused_by_name_or_read(values: dict[str, Any]) -> None:
    named = {ENVIRONMENT_PREFIX + name.upper(): value for name, value in values.items()}
    with environment(named):
        found = result_or_error(load_settings, naming=ENVIRONMENT_PREFIX)
    if found is not None:
        assert all(isinstance(getattr(found, name), type(getattr(Settings(), name))) for name in values)


@fuzz(1)
@given(
    st.dictionaries(
        st.sampled_from(SETTINGS),
        st.one_of(ENVIRONMENT_TEXTS, st.integers(), st.floats(), st.just([])),
    )
)
def test_flags_are_refused_by_name_or_read(flags: dict[str, object]) -> None:
    result_or_error(lambda: load_settings(None, flags), naming="--" if flags else "")


def test_an_endless_settings_file_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="/dev/zero"):
        load_settings(Path("/dev/zero"))


@pytest.mark.parametrize("text", ["\0", "a\ud800b", "file://[", "sqlite://\u2100/x", "postgresql://\udc80@h/d"])
def test_characters_that_no_location_can_hold_are_refused(text: str) -> None:
    for parse in (parse_location, parse_postgres):
        with pytest.raises(ConfigurationError):
            parse(text)


def test_the_location_of_a_directory_leads_back_to_it(tmp_path: Path) -> None:
    found = parse_location(f"{tmp_path}/")
    assert parse_location(found.url) == found == parse_location(f"file://{tmp_path}")


def test_many_mistakes_in_settings_give_a_message_of_bounded_length(tmp_path: Path) -> None:
    path = tmp_path / "pipeline.toml"
    path.write_text("".join(f"{'x' * 3000}{number} = 1\n" for number in range(300)))
    with pytest.raises(ConfigurationError, match="280 more") as caught:
        load_settings(path)
    assert len(str(caught.value)) < 6000
