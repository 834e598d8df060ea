"""What can be set: names, types, defaults, and the rules that hold for each.

The rules are written down here and kept by `rules`, which takes a while to import: longer than many a Movement lasts.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal

ENVIRONMENT_PREFIX = "PIPELINE_"

FREE = frozenset({"home"})
"""Settings without a rule: any path is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings, valid and frozen. The class itself takes defaults and arguments; `load_settings` reads the rest.

    pydantic.ValidationError when an argument breaks a rule. The metadata of a field are what pydantic's `Field` takes.
    """

    home: Path = field(
        default=Path(".pipeline"),
        metadata={
            "description": "The directory in which the embedded store and queue live. All that the pipeline remembers is here.",
        },
    )
    store: str = field(
        default="",
        metadata={
            "pattern": r"^$|^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/.*)?$",
            "description": "The bucket that holds everything, as s3://bucket or s3://bucket/prefix. Empty: the embedded store "
            "in the home directory.",
        },
    )
    exports_queue: str = field(
        default="exports",
        metadata={
            "pattern": r"^[A-Za-z0-9_-]+$|^sqs://[A-Za-z0-9_-]{1,80}(\.fifo)?$",
            "description": "The queue that tells export workers of Movements to begin: sqs://name, or the name of an embedded "
            "queue in the home directory.",
        },
    )
    imports_queue: str = field(
        default="imports",
        metadata={
            "pattern": r"^[A-Za-z0-9_-]+$|^sqs://[A-Za-z0-9_-]{1,80}(\.fifo)?$",
            "description": "The queue that tells import workers of File Groups that are complete: sqs://name, or the name of "
            "an embedded queue in the home directory.",
        },
    )
    aws_endpoint_url: str = field(
        default="",
        metadata={
            "pattern": r"^$|^https?://[^/\s]+/?$",
            "description": "Where S3 and SQS answer. Empty: AWS itself.",
        },
    )
    sqs_endpoint_url: str = field(
        default="",
        metadata={
            "pattern": r"^$|^https?://[^/\s]+/?$",
            "description": "Where SQS answers, if elsewhere than S3. Empty: at aws_endpoint_url.",
        },
    )
    aws_region: str = field(
        default="",
        metadata={
            "description": "The region of bucket and queues. Empty: what the AWS configuration of the machine says.",
        },
    )
    aws_access_key_id: str = field(
        default="",
        metadata={
            "description": "An access key, for local stacks. Empty: the AWS default chain (environment, profile, role).",
        },
    )
    aws_secret_access_key: str = field(
        default="",
        repr=False,
        metadata={
            "description": "The secret that goes with the access key. It is never shown.",
        },
    )
    aws_max_connections: int = field(
        default=32,
        metadata={
            "ge": 1,
            "le": 1_000,
            "description": "How many connections to S3, and to SQS, a worker keeps open at most.",
        },
    )
    s3_path_style: bool = field(
        default=False,
        metadata={
            "description": "Whether the bucket's name goes into the path of a request and not into its host name, as most "
            "S3-compatible stores need it.",
        },
    )
    s3_server_side_encryption: Literal["", "AES256", "aws:kms", "aws:kms:dsse"] = field(
        default="",
        metadata={
            "description": 'How S3 encrypts what is stored: "AES256", "aws:kms" or "aws:kms:dsse". Empty: as the bucket says.',
        },
    )
    s3_kms_key_id: str = field(
        default="",
        metadata={
            "description": 'The key for "aws:kms". Empty: the key of the account.',
        },
    )
    event_file_bytes: int = field(
        default=16_000_000,
        metadata={
            "ge": 1_000,
            "le": 256_000_000,
            "description": "An Event File is cut when its JSON lines reach this many bytes, before compression. One Event "
            "File is one transaction at the destination, and is held in memory while it is written.",
        },
    )
    event_file_rows: int = field(
        default=250_000,
        metadata={
            "ge": 1,
            "le": 10_000_000,
            "description": "An Event File is cut when it holds this many records.",
        },
    )
    zstd_level: int = field(
        default=1,
        metadata={
            "ge": -7,
            "le": 19,
            "description": "How hard Event Files are compressed. Higher is smaller and slower.",
        },
    )
    importers: int = field(
        default=4,
        metadata={
            "ge": 1,
            "le": 64,
            "description": "How many Event Files a process imports at the same time.",
        },
    )
    import_in_subprocess: bool = field(
        default=True,
        metadata={
            "description": "Whether `pipeline move` imports in a second process when there is much to move and a processor for "
            "it. Each of the two takes memory of its own.",
        },
    )
    shard_files: int = field(
        default=8,
        metadata={
            "ge": 0,
            "le": 10_000,
            "description": "A group with more Event Files to import than this is split into shards of about this many, which "
            "several workers import. 0: groups are not split.",
        },
    )
    queue_visibility_seconds: float = field(
        default=60.0,
        metadata={
            "ge": 0.1,
            "le": 43_200,
            "description": "How long a message belongs to the worker that received it. A worker at work extends it; what a "
            "dead worker held is delivered again after this time.",
        },
    )
    queue_max_receives: int = field(
        default=5,
        metadata={
            "ge": 1,
            "le": 1_000,
            "description": "How often a message is delivered before it goes to the dead-letter queue.",
        },
    )
    sweep_seconds: float = field(
        default=5.0,
        metadata={
            "ge": 0.01,
            "le": 3_600,
            "description": "How often to look for File Groups that are complete but not imported, in case a message was lost.",
        },
    )
    idle_timeout_seconds: float = field(
        default=900.0,
        metadata={
            "ge": 1,
            "le": 86_400,
            "description": "A run in which nothing has moved for this long ends, and says so; the same command carries on.",
        },
    )
    lifetime_seconds: float = field(
        default=14.0 * 86_400,
        metadata={
            "ge": 1,
            "le": 365 * 86_400,
            "description": "A Movement older than this is TIMED_OUT. The default is 14 days.",
        },
    )
    progress_seconds: float = field(
        default=2.0,
        metadata={
            "ge": 0.1,
            "le": 3_600,
            "description": "How often progress is told when it is not shown on a terminal.",
        },
    )
    log_format: Literal["console", "json"] = field(
        default="console",
        metadata={
            "description": 'How log events are written to standard error: "console" for people, "json" for machines.',
        },
    )
    log_level: Literal["debug", "info", "warning", "error"] = field(
        default="warning",
        metadata={
            "description": 'The least important log events that are written: "debug", "info", "warning" or "error".',
        },
    )

    def __post_init__(self) -> None:
        """Have what is not a default checked."""
        given = {item.name: value for item in fields(self) if (value := getattr(self, item.name)) != item.default}
        if given.keys() - FREE:
            from pipeline.settings.rules import checked

            checked(given)
