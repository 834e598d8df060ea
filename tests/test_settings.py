"""Settings: where they come from, and what is said when they are wrong."""

from __future__ import annotations

import tomllib
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from pipeline.domain.errors import ConfigurationError
from pipeline.settings import Settings, load_settings, rules

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


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("zstd_level = 99", "99 is not valid. It must be a whole number from -7 to 19."),
        ("event_file_rows = 0", "0 is not valid. It must be a whole number from 1 to 10,000,000."),
        ("importers = true", "true is not valid. It must be a whole number from 1 to 64."),
        ("progress_seconds = nan", "nan is not valid. It must be a number from 0.1 to 3,600."),
        ('s3_path_style = "perhaps"', "'perhaps' is not valid. It must be true or false."),
        ('log_format = "xml"', '\'xml\' is not valid. It must be one of "console", "json".'),
        ("aws_region = 7", "7 is not valid. It must be a text."),
        ("home = 7", "7 is not valid. It must be a path."),
        (
            'plugins = ["./tracker.py"]',
            "['./tracker.py'] is not valid. It must be a list of plug-ins, each written as \"./file.py:name\" or "
            '"package.module:name".',
        ),
        (
            'store = "s3://x"',
            "'s3://x' is not valid. It must be empty, s3://BUCKET or s3://BUCKET/PREFIX; bucket names have 3 to 63 "
            "lower-case letters, digits, dots and hyphens.",
        ),
        (
            'exports_queue = "sqs://a b"',
            "'sqs://a b' is not valid. It must be sqs://NAME, or the name of an embedded queue; names have letters, "
            "digits, - and _.",
        ),
        (
            'aws_endpoint_url = "localhost"',
            "'localhost' is not valid. It must be empty, or a URL without a path, such as http://localhost:4566.",
        ),
    ],
)
def test_a_mistake_is_told_in_words(tmp_path: Path, written: str, message: str) -> None:
    config = write(tmp_path / "s.toml", written)
    with pytest.raises(ConfigurationError) as caught:
        load_settings(config)
    assert str(caught.value) == f"{written.split()[0]} in {config}: {message}"


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("IMPORTERS", " 7 ", 7),
        ("EVENT_FILE_BYTES", "1_000_000", 1_000_000),
        ("SWEEP_SECONDS", "0.5", 0.5),
        ("S3_PATH_STYLE", "yes", True),
        ("S3_PATH_STYLE", "0", False),
        ("LOG_LEVEL", "debug", "debug"),
    ],
)
def test_the_environment_holds_texts(monkeypatch: pytest.MonkeyPatch, name: str, text: str, value: object) -> None:
    monkeypatch.setenv(f"PIPELINE_{name}", text)
    assert getattr(load_settings(), name.lower()) == value


def test_a_list_is_read_from_a_file_beside_it_and_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "there").mkdir()
    config = write(tmp_path / "there" / "s.toml", 'plugins = ["./a b.py:exporter", "~/b.py:c", "my.app:exporter"]\n')
    monkeypatch.setenv("HOME", "/home/me")
    expected = (f"{tmp_path}/there/a b.py:exporter", "/home/me/b.py:c", "my.app:exporter")
    assert load_settings(config).plugins == expected
    monkeypatch.setenv("PIPELINE_PLUGINS", "./x.py:y my.app:z")
    assert load_settings(config).plugins == ("./x.py:y", "my.app:z")
    monkeypatch.setenv("PIPELINE_PLUGINS", "tracker")
    with pytest.raises(ConfigurationError, match="PIPELINE_PLUGINS in the environment: 'tracker' is not valid"):
        load_settings(config)


def test_a_tilde_is_the_home_directory_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_settings(flags={"home": Path("~/data")}).home == tmp_path / "data"
    write(tmp_path / "s.toml", 'home = "~/elsewhere"\n')
    assert load_settings(Path("~/s.toml")).home == tmp_path / "elsewhere"
    with pytest.raises(ConfigurationError, match=r"^--home: '~nobody-of-this-name/x' is not valid"):
        load_settings(flags={"home": "~nobody-of-this-name/x"})


@pytest.mark.parametrize(
    ("old", "new", "text", "value"),
    [("share_files", "shard_files", "3", 3), ("import_apart", "import_in_subprocess", "false", False)],
)
def test_former_names_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, text: str, value: object
) -> None:
    config = write(tmp_path / "s.toml", f"{old} = {text}\n")
    assert getattr(load_settings(config), new) == value
    monkeypatch.setenv(f"PIPELINE_{old.upper()}", text)
    assert getattr(load_settings(), new) == value
    monkeypatch.setenv(f"PIPELINE_{new.upper()}", text)
    with pytest.raises(ConfigurationError, match=f"PIPELINE_{old.upper()} in the environment: .*former name of {new}"):
        load_settings()
    monkeypatch.delenv(f"PIPELINE_{old.upper()}")
    both = write(tmp_path / "both.toml", f"{old} = {text}\n{new} = {text}\n")
    with pytest.raises(ConfigurationError, match=f"{old} in .*both.toml: .*Remove one"):
        load_settings(both)
    wrong = write(tmp_path / "wrong.toml", f"{old} = []\n")
    monkeypatch.delenv(f"PIPELINE_{new.upper()}")
    with pytest.raises(ConfigurationError, match=f"^{old} in"):
        load_settings(wrong)


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
    with pytest.raises(ConfigurationError, match="importers: 65 is not valid"):
        Settings(importers=65)


def test_other_defaults_give_way_to_what_is_written(tmp_path: Path) -> None:
    quiet = write(tmp_path / "s.toml", 'log_level = "error"\n')
    assert load_settings(defaults={"log_level": "info"}).log_level == "info"
    assert load_settings(quiet, defaults={"log_level": "info"}).log_level == "error"


def test_the_example_names_every_setting_with_its_default_and_meaning() -> None:
    text = EXAMPLE.read_text()
    uncommented = "\n".join(line.removeprefix("# ") for line in text.splitlines() if " = " in line)
    assert tomllib.loads(uncommented) == {name: _plain(rule.default) for name, rule in rules().items()}
    prose = " ".join(line.removeprefix("# ") for line in text.splitlines())
    for name, rule in rules().items():
        assert f"{rule.description} {name} = " in prose
    assert load_settings(EXAMPLE) == Settings()


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Path) else list(value) if isinstance(value, tuple) else value


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
