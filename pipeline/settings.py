"""What can be set, its defaults and its limits; parsed once, at the top.

A setting comes from, in rising order: its default, a TOML file, the environment (`PIPELINE_` and its name in
capitals), a flag. Everything that is wrong is reported at once, each under the name that the user wrote.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from reprlib import Repr
from typing import Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from pipeline.domain.errors import ConfigurationError

ENVIRONMENT_PREFIX = "PIPELINE_"

MAX_FILE_BYTES = 1024 * 1024
"""The largest settings file that is read."""
MAX_COMPLAINTS = 20
"""How many mistakes are told of at once."""


class Settings(BaseSettings):
    """All settings, valid and frozen. The class itself takes defaults and arguments; `load_settings` reads the rest."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix=ENVIRONMENT_PREFIX, env_ignore_empty=True, validate_default=False
    )

    home: Path = Field(
        default=Path(".pipeline"),
        description="The directory in which the embedded store and queue live. All that the pipeline remembers is here.",
    )
    store: str = Field(
        default="",
        pattern=r"^$|^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/.*)?$",
        description="The bucket that holds everything, as s3://bucket or s3://bucket/prefix. Empty: the embedded store "
        "in the home directory.",
    )
    exports_queue: str = Field(
        default="exports",
        pattern=r"^[A-Za-z0-9_-]+$|^sqs://[A-Za-z0-9_-]{1,80}(\.fifo)?$",
        description="The queue that tells export workers of Movements to begin: sqs://name, or the name of an embedded "
        "queue in the home directory.",
    )
    imports_queue: str = Field(
        default="imports",
        pattern=r"^[A-Za-z0-9_-]+$|^sqs://[A-Za-z0-9_-]{1,80}(\.fifo)?$",
        description="The queue that tells import workers of File Groups that are complete: sqs://name, or the name of "
        "an embedded queue in the home directory.",
    )
    aws_endpoint_url: str = Field(
        default="",
        pattern=r"^$|^https?://[^/\s]+/?$",
        description="Where S3 and SQS answer. Empty: AWS itself.",
    )
    sqs_endpoint_url: str = Field(
        default="",
        pattern=r"^$|^https?://[^/\s]+/?$",
        description="Where SQS answers, if elsewhere than S3. Empty: at aws_endpoint_url.",
    )
    aws_region: str = Field(
        default="",
        description="The region of bucket and queues. Empty: what the AWS configuration of the machine says.",
    )
    aws_access_key_id: str = Field(
        default="",
        description="An access key, for local stacks. Empty: the AWS default chain (environment, profile, role).",
    )
    aws_secret_access_key: SecretStr = Field(
        default=SecretStr(""),
        description="The secret that goes with the access key. It is never shown.",
    )
    aws_max_connections: int = Field(
        default=32,
        ge=1,
        le=1_000,
        description="How many connections to S3, and to SQS, a worker keeps open at most.",
    )
    s3_path_style: bool = Field(
        default=False,
        description="Whether the bucket's name goes into the path of a request and not into its host name, as most "
        "S3-compatible stores need it.",
    )
    s3_server_side_encryption: Literal["", "AES256", "aws:kms", "aws:kms:dsse"] = Field(
        default="",
        description='How S3 encrypts what is stored: "AES256", "aws:kms" or "aws:kms:dsse". Empty: as the bucket says.',
    )
    s3_kms_key_id: str = Field(
        default="",
        description='The key for "aws:kms". Empty: the key of the account.',
    )
    event_file_bytes: int = Field(
        default=16_000_000,
        ge=1_000,
        le=256_000_000,
        description="An Event File is cut when its JSON lines reach this many bytes, before compression. One Event "
        "File is one transaction at the destination, and is held in memory while it is written.",
    )
    event_file_rows: int = Field(
        default=250_000,
        ge=1,
        le=10_000_000,
        description="An Event File is cut when it holds this many records.",
    )
    zstd_level: int = Field(
        default=1,
        ge=-7,
        le=19,
        description="How hard Event Files are compressed. Higher is smaller and slower.",
    )
    importers: int = Field(
        default=4,
        ge=1,
        le=64,
        description="How many streams are imported at the same time.",
    )
    import_apart: bool = Field(
        default=True,
        description="Whether `pipeline move` imports in a second process when there is much to move and a processor for "
        "it. Each of the two takes memory of its own.",
    )
    share_files: int = Field(
        default=8,
        ge=0,
        le=10_000,
        description="A group with more Event Files to import than this is shared out among workers, so many Event Files "
        "to a share. 0: each group is one worker's.",
    )
    queue_visibility_seconds: float = Field(
        default=60.0,
        ge=0.1,
        le=43_200,
        description="How long a message belongs to the worker that received it. A worker at work extends it; what a "
        "dead worker held is delivered again after this time.",
    )
    queue_max_receives: int = Field(
        default=5,
        ge=1,
        le=1_000,
        description="How often a message is delivered before it goes to the dead-letter queue.",
    )
    sweep_seconds: float = Field(
        default=5.0,
        ge=0.01,
        le=3_600,
        description="How often to look for File Groups that are complete but not imported, in case a message was lost.",
    )
    idle_timeout_seconds: float = Field(
        default=900.0,
        ge=1,
        le=86_400,
        description="A run in which nothing has moved for this long ends, and says so; the same command carries on.",
    )
    lifetime_seconds: float = Field(
        default=14.0 * 86_400,
        ge=1,
        le=365 * 86_400,
        description="A Movement older than this is TIMED_OUT. The default is 14 days.",
    )
    progress_seconds: float = Field(
        default=2.0,
        ge=0.1,
        le=3_600,
        description="How often progress is told when it is not shown on a terminal.",
    )
    log_format: Literal["console", "json"] = Field(
        default="console",
        description='How log events are written to standard error: "console" for people, "json" for machines.',
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="warning",
        description='The least important log events that are written: "debug", "info", "warning" or "error".',
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read nothing behind the caller's back."""
        return (init_settings,)


def load_settings(config: Path | None = None, flags: Mapping[str, object] | None = None) -> Settings:
    """Return the settings from the file `config`, the environment and `flags` (by name of the setting).

    ConfigurationError names everything that is wrong, one line each.
    """
    given = {name: value for name, value in (flags or {}).items() if value is not None}
    environment = EnvSettingsSource(Settings)()
    from_file = {} if config is None else _read_toml(config)
    values = {**from_file, **environment, **given}
    try:
        return Settings(**values)
    except ValidationError as error:
        details = error.errors()
    lines = [_complaint(detail, config, environment, given) for detail in details[:MAX_COMPLAINTS]]
    unknown = [at for at, detail in enumerate(details[:MAX_COMPLAINTS]) if detail["type"] == "extra_forbidden"]
    for at in unknown[:1]:
        lines[at] += f" The settings are: {', '.join(Settings.model_fields)}."
    if len(details) > MAX_COMPLAINTS:
        lines.append(f"… and {len(details) - MAX_COMPLAINTS:,} more.")
    raise ConfigurationError("\n".join(lines))


def _read_toml(path: Path) -> dict[str, object]:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
        if len(data) <= MAX_FILE_BYTES:
            return tomllib.loads(data.decode())
    except FileNotFoundError as error:
        raise ConfigurationError(
            f"There is no settings file {path}. Name another with --config, or leave it out."
        ) from error
    except RecursionError as error:
        raise ConfigurationError(f"The settings file {path} cannot be read: it is nested too deep.") from error
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"The settings file {path} cannot be read: {str(error)[:300]}") from error
    raise ConfigurationError(f"The settings file {path} cannot be read: it is larger than {MAX_FILE_BYTES:,} bytes.")


class _Brief(Repr):
    """Values for a message: short, however large or deeply nested they are."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = 200
        self.maxlevel = 2

    def repr_int(self, x: int, level: int) -> str:
        return super().repr_int(x, level) if x.bit_length() <= 128 else f"an integer of {x.bit_length():,} bits"


def _complaint(
    detail: ErrorDetails, config: Path | None, environment: Mapping[str, object], flags: Mapping[str, object]
) -> str:
    name = str(detail["loc"][0])
    if detail["type"] == "extra_forbidden":
        return f"{name[:80]} in {config}: there is no such setting."
    if name in flags:
        where = "--" + name.replace("_", "-")
    elif name in environment:
        where = ENVIRONMENT_PREFIX + name.upper() + " in the environment"
    else:
        where = f"{name} in {config}"
    if "secret" in name:
        return f"{where}: it cannot be a secret. Give a text."
    value = detail["input"]
    shown = os.fspath(value) if isinstance(value, str | os.PathLike) else value
    rule = detail["msg"].partition(" for <class")[0]
    return f"{where}: {rule[0].lower()}{rule[1:]}, not {_Brief().repr(shown)}."
