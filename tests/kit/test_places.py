"""Plug-ins are found by file, module or installed name, and get their settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pydantic
import pytest

from pipeline.domain.errors import ConfigurationError
from pipeline.kit import Secret
from pipeline.kit.configuration.names import SettingNames
from pipeline.kit.configuration.secret import without_secrets
from pipeline.kit.configuration.settings import read_settings
from pipeline.kit.declared import Connection
from pipeline.kit.places.parsing import parse_reference
from pipeline.kit.places.reference import Kind, PluginReference

NAMES = SettingNames("--source-set", "PIPELINE_SOURCE_")


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.kit.places.parsing.is_known", lambda name: name == "tracker")


def parse(text: str) -> PluginReference | None:
    return parse_reference(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/x/app.py:exporter", PluginReference(Kind.FILE, "/x/app.py", "exporter")),
        ("/a:b/a p?.py:e", PluginReference(Kind.FILE, "/a:b/a p?.py", "e")),
        ("my_app.move:exporter", PluginReference(Kind.MODULE, "my_app.move", "exporter")),
        ("tracker:https://old?a=b", PluginReference(Kind.INSTALLED, "tracker", "", {"url": "https://old?a=b"})),
        ("tracker:", PluginReference(Kind.INSTALLED, "tracker")),
        ("app.db", None),
        ("dir:with/colon.db", None),
        ("sqlite:///app.db", None),
        ("postgresql://user:secret@host/app", None),
    ],
)
def test_a_place_is_a_plugin_or_not(text: str, expected: PluginReference | None) -> None:
    found = parse(text)
    assert found == expected
    if found is not None:
        url = found.url(found.settings)
        assert parse(url) == found
        assert parse(url + ("&" if found.settings else "?") + "x=1%2F2") == PluginReference(
            found.kind, found.where, found.name, {**found.settings, "x": "1/2"}
        )


def test_a_relative_file_is_one_place_wherever_it_is_written_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse("./app.py:e") == parse("app.py:e") == parse(f"{tmp_path}/app.py:e")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("./app.py", "is a Python file. Name the Exporter or Importer in it: ./app.py:NAME"),
        ("unknown:https://old", "no installed Exporter or Importer 'unknown'. Check the name"),
        ("python://", "is no plug-in"),
        ("python://a.b:c d", "is no plug-in"),
        ("python:///x/app.txt:e", "is no plug-in"),
        ("python://host/x.py:e", "is no plug-in"),
        ("python://app?x", "is no plug-in"),
        ("python://[app", "is no plug-in"),
    ],
)
def test_what_is_meant_as_a_plugin_and_is_none_is_an_error(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        parse(text)


NO_TOKEN = Secret()


@dataclass
class Settings:
    url: str
    size: int = 10
    fast: bool = False
    token: Secret = NO_TOKEN
    folder: Path | None = None
    parts: list[int] = field(default_factory=list)


async def connect(settings: Settings) -> object:
    return settings


CONNECTION = Connection(connect, takes_settings=True)


def test_settings_come_from_what_is_given_then_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_SOURCE_SIZE", "20")
    monkeypatch.setenv("PIPELINE_SOURCE_URL", "https://environment")
    monkeypatch.setenv("PIPELINE_SOURCE_TOKEN", "env:THE_TOKEN")
    monkeypatch.setenv("THE_TOKEN", "hidden")
    read = read_settings(CONNECTION, {"url": "https://given", "fast": "yes", "folder": "/x"}, NAMES, "app")
    assert isinstance(read.value, Settings)
    assert read.value == Settings("https://given", 20, True, Secret("env:THE_TOKEN"), Path("/x"))
    assert read.value.token.reveal() == "hidden"
    assert read.public == {"url": "https://given", "size": "20", "fast": "yes", "folder": "/x"}
    assert read.references == {"token": "env:THE_TOKEN"}


def test_the_settings_of_a_flow_are_not_changed_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_SOURCE_SIZE", "20")
    monkeypatch.setenv("PIPELINE_SOURCE_TOKEN", "env:THE_TOKEN")
    read = read_settings(CONNECTION, {"url": "u"}, NAMES, "app", stored=True)
    assert read.value == Settings("u", 10, token=Secret("env:THE_TOKEN"))


def test_all_wrong_settings_are_named_at_once() -> None:
    given = {"size": "many", "token": "plain-secret", "unknown": "1", "fast": "perhaps"}
    with pytest.raises(ConfigurationError) as caught:
        read_settings(CONNECTION, given, NAMES, "app.py:exporter")
    lines = str(caught.value).splitlines()
    assert len(lines) == 5
    for part in (
        "'size' of app.py:exporter is 'many', which is not valid",
        "'token' of app.py:exporter is a secret. Give a reference to it, env:NAME or file:PATH",
        "no setting 'unknown'. It has: url, size, fast, token, folder, parts",
        "'fast' of app.py:exporter is 'perhaps'. It must be true or false",
        "'url' of app.py:exporter is missing. Give it with --source-set url=…, or PIPELINE_SOURCE_URL",
    ):
        assert part in str(caught.value)
    assert "plain-secret" not in str(caught.value)


async def connect_without_annotation(settings):  # type: ignore[no-untyped-def]
    return settings


def test_settings_without_an_annotation_are_named_with_their_line() -> None:
    with pytest.raises(
        ConfigurationError, match=r"test_places.py, line .*'settings' has no annotation.*dataclass Settings"
    ):
        read_settings(Connection(connect_without_annotation, takes_settings=True), {}, NAMES, "app")


async def connect_to(name: str, settings: Where) -> object:
    return name, settings


@dataclass
class Where:
    url: str


class Connect:
    async def __call__(self, settings: Where) -> object:
        return settings


class ConnectWithoutAnnotation:
    async def __call__(self, settings): ...  # type: ignore[no-untyped-def]


@pytest.mark.parametrize("connect", [Connect(), partial(connect_to, "a")])
def test_an_object_or_a_partial_that_connects_gets_its_settings(connect: Callable[..., Any]) -> None:
    found = read_settings(Connection(connect, takes_settings=True), {"url": "x"}, NAMES, "app")
    assert found.value == Where("x")


def test_settings_of_an_object_without_an_annotation_are_named_with_its_line() -> None:
    with pytest.raises(ConfigurationError, match=r"test_places.py, line .* has no annotation.*__call__\(settings: "):
        read_settings(Connection(ConnectWithoutAnnotation(), takes_settings=True), {}, NAMES, "app")


@dataclass
class Hidden:
    token: pydantic.SecretStr


@dataclass
class ManyHidden:
    tokens: list[Secret]


class NoSettings:
    def __init__(self, url: str) -> None: ...


async def connect_hidden(settings: Hidden) -> object:
    return settings


async def connect_many_hidden(settings: ManyHidden) -> object:
    return settings


async def connect_to_nothing(settings: NoSettings) -> object:
    return settings


@pytest.mark.parametrize(
    ("connect", "message"),
    [
        (connect_hidden, "'token' has the type SecretStr. Give it the type Secret"),
        (connect_many_hidden, "'tokens' has the type list. Give it the type Secret"),
        (connect_to_nothing, "NoSettings is no type of settings. Write async def connect_to_nothing"),
    ],
)
def test_a_type_of_settings_that_cannot_be_is_named_with_its_line(connect: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=f"test_places.py, line .*{message}"):
        read_settings(Connection(connect, takes_settings=True), {"token": "plain"}, NAMES, "app")


def test_a_list_is_given_as_json_and_text_must_be_valid() -> None:
    read = read_settings(CONNECTION, {"url": "u", "parts": "[1, 2]"}, NAMES, "app")
    assert read.value == Settings("u", parts=[1, 2])
    with pytest.raises(ConfigurationError, match="'url' of app is no valid text"):
        read_settings(CONNECTION, {"url": "\udcff"}, NAMES, "app")


def test_a_secret_is_shown_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text("from the file\n")
    monkeypatch.setenv("THE_TOKEN", "from the environment")
    secrets = [Secret(f"file:{tmp_path}/token"), Secret("env:THE_TOKEN"), Secret()]
    assert [secret.reveal() for secret in secrets] == ["from the file", "from the environment", ""]
    assert [repr(secret) for secret in secrets] == ["Secret(…)", "Secret(…)", "Secret()"]
    assert without_secrets("failed with from the file!") == "failed with ***!"
    with pytest.raises(ConfigurationError, match=r"test_places.py, line \d+: a secret is given in plain") as caught:
        Secret("visible")
    assert "visible" not in str(caught.value)
    monkeypatch.delenv("THE_TOKEN")
    for reference in ("env:THE_TOKEN", f"file:{tmp_path}/none"):
        with pytest.raises(ConfigurationError, match="which a secret refers to"):
            Secret(reference).reveal()
