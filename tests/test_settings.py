"""Settings: where they come from, and what is said when they are wrong."""

from __future__ import annotations

import tomllib
from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import pytest
from pydantic import ValidationError

from pipeline.domain.errors import ConfigurationError
from pipeline.settings import Settings, load_settings

EXAMPLE = Path(__file__).parents[1] / "config" / "local.toml"


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_flags_go_before_the_environment_before_the_file_before_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = write(tmp_path / "s.toml", 'importers = 2\nzstd_level = 3\nhome = "file"\n')
    monkeypatch.setenv("PIPELINE_ZSTD_LEVEL", "4")
    monkeypatch.setenv("PIPELINE_HOME", "environment")
    settings = load_settings(config, {"home": Path("flag")})
    assert (settings.importers, settings.zstd_level, settings.home) == (2, 4, Path("flag"))
    assert settings.event_file_rows == Settings().event_file_rows


def test_what_is_not_given_or_empty_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_HOME", "")
    assert load_settings(flags={"home": None}) == Settings()


def test_calling_the_class_reads_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_IMPORTERS", "7")
    assert Settings().importers == 4


def test_every_mistake_is_named_as_the_user_wrote_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = write(tmp_path / "s.toml", "zstd_level = 99\nimporter = 2\n")
    monkeypatch.setenv("PIPELINE_IMPORTERS", "many")
    with pytest.raises(ConfigurationError) as caught:
        load_settings(config, {"log_level": "loud"})
    lines = sorted(str(caught.value).splitlines())
    assert [line.partition(":")[0] for line in lines] == [
        "--log-level",
        "PIPELINE_IMPORTERS in the environment",
        f"importer in {config}",
        f"zstd_level in {config}",
    ]


@pytest.mark.parametrize("content", ["importers = ", "\x00", 'home = "a'])
def test_a_file_that_is_no_toml_is_named(tmp_path: Path, content: str) -> None:
    with pytest.raises(ConfigurationError, match=r"s\.toml"):
        load_settings(write(tmp_path / "s.toml", content))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no settings file .*missing\.toml"):
        load_settings(tmp_path / "missing.toml")


def test_settings_do_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        Settings().importers = 5  # type: ignore[misc]


def test_arguments_are_checked() -> None:
    assert Settings(importers=64).importers == 64
    with pytest.raises(ValidationError, match="importers"):
        Settings(importers=65)


def test_other_defaults_give_way_to_what_is_written(tmp_path: Path) -> None:
    quiet = write(tmp_path / "s.toml", 'log_level = "error"\n')
    assert load_settings(defaults={"log_level": "info"}).log_level == "info"
    assert load_settings(quiet, defaults={"log_level": "info"}).log_level == "error"


def test_the_example_names_every_setting_with_its_default_and_meaning() -> None:
    text = EXAMPLE.read_text()
    uncommented = "\n".join(line.removeprefix("# ") for line in text.splitlines() if " = " in line)
    defaults = {setting.name: setting.default for setting in fields(Settings)}
    assert tomllib.loads(uncommented) == {name: _plain(value) for name, value in defaults.items()}
    prose = " ".join(line.removeprefix("# ") for line in text.splitlines())
    for setting in fields(Settings):
        assert f"{setting.metadata['description']} {setting.name} = " in prose
    assert load_settings(EXAMPLE) == Settings()


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Path) else value


def test_a_secret_is_never_shown(tmp_path: Path) -> None:
    config = write(tmp_path / "s.toml", 'aws_secret_access_key = "hunter2"\n')
    assert "hunter2" not in repr(load_settings(config))
    wrong = write(tmp_path / "wrong.toml", "aws_secret_access_key = [4711]\n")
    with pytest.raises(ConfigurationError, match="aws_secret_access_key") as caught:
        load_settings(wrong)
    assert "4711" not in str(caught.value)


@pytest.mark.parametrize("name", ["localstack.toml", "production.toml"])
def test_the_other_examples_are_valid_and_name_only_what_differs(name: str) -> None:
    example = EXAMPLE.with_name(name)
    settings = load_settings(example)
    for setting in tomllib.loads(example.read_text()):
        assert getattr(settings, setting) != getattr(Settings(), setting), setting
