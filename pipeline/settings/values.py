"""The settings: names, types, defaults, limits and meanings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from pipeline.domain.errors import ConfigurationError
from pipeline.settings.rules import Rule, rules_of

ENVIRONMENT_PREFIX = "PIPELINE_"

_QUEUE = r"\A([A-Za-z0-9_-]+|sqs://[A-Za-z0-9_-]{1,80}(\.fifo)?)\Z"
_QUEUE_FORM = "sqs://NAME, or the name of an embedded queue; names have letters, digits, - and _"
_ENDPOINT = r"\A(https?://[^/\s]+/?)?\Z"
_ENDPOINT_FORM = "empty, or a URL without a path, such as http://localhost:4566"

_PLUGIN = r"(?s:(.+\.py)|[^\W\d][\w.]*):[^\W\d]\w*"
_PLUGIN_FORM = 'a list of plug-ins, each written as "./file.py:name" or "package.module:name"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings, valid and frozen. `load_settings` reads them; the class takes defaults and arguments alone.

    ConfigurationError when an argument is not valid.
    """

    home: Annotated[
        Path,
        Meta(description="The directory of the embedded store and queue. Everything the pipeline remembers is in it."),
    ] = Path(".pipeline")
    store: Annotated[
        str,
        Meta(
            pattern=r"\A(s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/.*)?)?\Z",
            extra={
                "form": "empty, s3://BUCKET or s3://BUCKET/PREFIX; bucket names have 3 to 63 lower-case letters, digits, "
                "dots and hyphens"
            },
            description="The bucket that holds everything, as s3://BUCKET or s3://BUCKET/PREFIX. Empty: the embedded store "
            "in the home directory.",
        ),
    ] = ""
    exports_queue: Annotated[
        str,
        Meta(
            pattern=_QUEUE,
            extra={"form": _QUEUE_FORM},
            description="The queue that announces started Movements to export workers: sqs://NAME, or the name of an embedded "
            "queue in the home directory.",
        ),
    ] = "exports"
    imports_queue: Annotated[
        str,
        Meta(
            pattern=_QUEUE,
            extra={"form": _QUEUE_FORM},
            description="The queue that announces complete File Groups to import workers: sqs://NAME, or the name of an "
            "embedded queue in the home directory.",
        ),
    ] = "imports"
    aws_endpoint_url: Annotated[
        str,
        Meta(
            pattern=_ENDPOINT,
            extra={"form": _ENDPOINT_FORM},
            description="The URL of S3 and SQS. Empty: the one that the AWS configuration of the machine names "
            "(AWS_ENDPOINT_URL, a profile), else AWS itself.",
        ),
    ] = ""
    sqs_endpoint_url: Annotated[
        str,
        Meta(
            pattern=_ENDPOINT,
            extra={"form": _ENDPOINT_FORM},
            description="The URL of SQS, if it differs from that of S3. Empty: aws_endpoint_url.",
        ),
    ] = ""
    aws_region: Annotated[
        str, Meta(description="The region of bucket and queues. Empty: as the AWS configuration of the machine says.")
    ] = ""
    aws_access_key_id: Annotated[
        str,
        Meta(description="An access key, for local stacks. Empty: the AWS default chain (environment, profile, role)."),
    ] = ""
    aws_secret_access_key: Annotated[
        str, Meta(description="The secret that belongs to the access key. It is never shown.")
    ] = field(default="", repr=False)
    aws_max_connections: Annotated[
        int, Meta(ge=1, le=1_000, description="The most connections that a worker keeps open to S3, and to SQS.")
    ] = 32
    s3_path_style: Annotated[
        bool,
        Meta(
            description="Whether the bucket's name is in the path of a request and not in its host name, as most S3-compatible "
            "stores need it."
        ),
    ] = False
    s3_server_side_encryption: Annotated[
        Literal["", "AES256", "aws:kms", "aws:kms:dsse"],
        Meta(
            description='How S3 encrypts what is stored: "AES256", "aws:kms" or "aws:kms:dsse". Empty: as the bucket says.'
        ),
    ] = ""
    s3_kms_key_id: Annotated[str, Meta(description='The key for "aws:kms". Empty: the key of the account.')] = ""
    plugins: Annotated[
        tuple[str, ...],
        Meta(
            extra={"item": _PLUGIN, "form": _PLUGIN_FORM},
            description="Exporters and Importers that are found by their names without being installed. A path in a settings "
            "file begins at the directory of that file.",
        ),
    ] = ()
    one_file_system: Annotated[
        bool,
        Meta(
            description="Whether a directory tree ends at mount points: what other file systems hold below it is not moved. "
            "Set it alike for every command and worker."
        ),
    ] = False
    grants: Annotated[
        bool,
        Meta(
            description="Whether owners and privileges move from PostgreSQL to PostgreSQL. The destination must have the roles. "
            "Set it alike for every command and worker."
        ),
    ] = False
    event_file_bytes: Annotated[
        int,
        Meta(
            ge=1_000,
            le=256_000_000,
            description="An Event File is cut when its JSON lines reach this many bytes, before compression. One Event File is "
            "one transaction at the destination, and is held in memory while it is written.",
        ),
    ] = 16_000_000
    event_file_rows: Annotated[
        int, Meta(ge=1, le=10_000_000, description="An Event File is cut when it holds this many records.")
    ] = 250_000
    allow_deletes: Annotated[
        str,
        Meta(
            description="Streams of which any number of records may be deleted: names or patterns, with a space between them, as "
            "of --allow-deletes."
        ),
    ] = ""
    delete_guard_rows: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000_000_000,
            description="A Movement deletes nothing of a stream that would lose more records than this and more than a fifth, "
            "unless --allow-deletes allows it.",
        ),
    ] = 100
    zstd_level: Annotated[
        int, Meta(ge=-7, le=19, description="The compression level of Event Files. Higher is smaller and slower.")
    ] = 1
    importers: Annotated[
        int, Meta(ge=1, le=64, description="How many Event Files a process imports at the same time.")
    ] = 4
    import_in_subprocess: Annotated[
        bool,
        Meta(
            description="Whether `pipeline move` imports in a subprocess when the Movement is large and a second CPU is "
            "available. Each of the two processes takes memory of its own."
        ),
    ] = True
    shard_files: Annotated[
        int,
        Meta(
            ge=0,
            le=10_000,
            description="A group with more Event Files to import than this is split into shards of about this many, which "
            "several workers import. 0: groups are not split.",
        ),
    ] = 8
    queue_visibility_seconds: Annotated[
        float,
        Meta(
            ge=0.1,
            le=43_200,
            description="How long a message belongs to the worker that received it. A working worker extends this time; the "
            "messages of a dead worker are delivered again after it.",
        ),
    ] = 60.0
    queue_max_receives: Annotated[
        int,
        Meta(
            ge=1,
            le=1_000,
            description="How often an embedded queue delivers a message before it goes to the dead-letter queue.",
        ),
    ] = 5
    sweep_seconds: Annotated[
        float,
        Meta(
            ge=0.01,
            le=3_600,
            description="How often to look for File Groups that are complete but not imported, in case a message was lost.",
        ),
    ] = 5.0
    idle_timeout_seconds: Annotated[
        float,
        Meta(
            ge=1,
            le=86_400,
            description="A run that makes no progress for this long ends with an error; the same command carries on.",
        ),
    ] = 900.0
    lifetime_seconds: Annotated[
        float,
        Meta(ge=1, le=365 * 86_400, description="A Movement older than this is TIMED_OUT. The default is 14 days."),
    ] = 14.0 * 86_400
    progress_seconds: Annotated[
        float,
        Meta(
            ge=0.1,
            le=3_600,
            description="How often progress is written to the store, and printed when it is not shown on a terminal.",
        ),
    ] = 2.0
    notify_seconds: Annotated[
        float,
        Meta(
            ge=0.1,
            le=3_600,
            description="How often a notifier looks for new events while a Movement is under way. An idle one looks less often.",
        ),
    ] = 5.0
    metrics_listen: Annotated[
        str,
        Meta(
            pattern=r"\A((([\w.-]+|\[[0-9a-fA-F:]+\]):)?\d{1,5})?\Z",
            extra={"form": "empty, PORT or ADDRESS:PORT, such as 9464 or 0.0.0.0:9464"},
            description="Where a worker serves its metrics to Prometheus: PORT on this machine alone, or ADDRESS:PORT; port 0 is "
            "a free one. Empty: nowhere.",
        ),
    ] = ""
    metrics_streams: Annotated[
        int,
        Meta(
            ge=0,
            le=100_000,
            description="How many streams have a label of their own in metrics. The rest are counted together, as (others).",
        ),
    ] = 200
    log_format: Annotated[
        Literal["console", "json"],
        Meta(description='How log events are written to standard error: "console" for people, "json" for machines.'),
    ] = "console"
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Meta(description='The lowest level of log events that are written: "debug", "info", "warning" or "error".'),
    ] = "warning"

    def __post_init__(self) -> None:
        """Check the arguments."""
        problems = []
        for name, rule in rules().items():
            value = getattr(self, name)
            if value != rule.default:
                try:
                    rule.read(value)
                except ValueError as error:
                    problems.append(f"{name}: {error}")
        if problems:
            raise ConfigurationError("\n".join(problems))


@cache
def rules() -> Mapping[str, Rule]:
    """Return the rule of every setting, by name."""
    return rules_of(Settings)
