"""Errors, named for what the caller does next.

Adapters translate every foreign exception into one of these; no other code catches a driver's error. The docstring of
each class is advice for the operator.
"""

from __future__ import annotations

from pipeline.masking import masked


class PipelineError(Exception):
    """The message says what is wrong, where, and what to do. Secrets of authors' settings are masked in it."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*[masked(one) if isinstance(one, str) else one for one in arguments])


class ConfigurationError(PipelineError):
    """A path, name or setting is wrong. Correct it and run the command again."""


class TransientError(PipelineError):
    """A passing condition: locked, throttled, timed out. Run the command again; it continues where it stopped."""


class RefusedError(PipelineError):
    """The operation was refused: a missing permission, a full disk, a read-only place. Someone must act first."""


class ConflictError(PipelineError):
    """Another process was first: the object already exists, or has changed since it was read."""


class DamagedError(PipelineError):
    """Stored bytes are truncated, altered, or of an unknown format version.

    Nothing of the damaged file was applied. Restore the named object, or export the stream again.
    """


class AbsentError(PipelineError):
    """An object or location does not exist."""


TAKEN_AWAY = (
    "An expiry rule of the bucket or a person has removed it. Restore it, or run `pipeline rebuild FLOW`: it compares source "
    "and destination, and the next Movement moves what differs. Or move under another name (--flow NAME): everything is "
    "then exported and imported again, and an app that gives its objects ids has them twice."
)
"""The way out when a stored object that another one names does not exist."""


class UnreadableError(PipelineError):
    """One stream of the source cannot be read, for a reason of its own. Correct it, or leave the stream out with --exclude.

    `kind` is what the stream is, as in the inventory; the message does not name it.
    """

    def __init__(self, reason: str, kind: str = "stream") -> None:
        super().__init__(reason)
        self.kind = kind


class LeaseLostError(PipelineError):
    """The message was delivered to another worker meanwhile, so this worker must not acknowledge it."""


class DefectError(PipelineError):
    """A bug in the pipeline. Please report it with the message."""
