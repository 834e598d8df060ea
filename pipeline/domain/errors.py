"""Errors, named for what the caller does next.

Adapters translate every foreign exception into one of these; nothing above an adapter catches a driver's error.
The docstring of each class is the advice an operator gets.
"""

from __future__ import annotations


class PipelineError(Exception):
    """Something went wrong; the message says what, where, and what to do."""


class ConfigurationError(PipelineError):
    """What was asked for cannot be: a wrong path, name or setting. Fix it and run the command again."""


class TransientError(PipelineError):
    """A passing condition: locked, throttled, timed out. Run the command again; it carries on where it stopped."""


class RefusedError(PipelineError):
    """The other side said no: a permission, a full disk, a read-only place. A person must act first."""


class ConflictError(PipelineError):
    """Somebody else won: the object exists already, or has changed since it was read."""


class DamagedError(PipelineError):
    """Stored bytes are not what their list says: truncated, altered, or of an unknown format version.

    Nothing of the damaged file was applied. Restore the named object, or export the stream anew.
    """


class AbsentError(PipelineError):
    """A named object or location does not exist."""


class LeaseLostError(PipelineError):
    """The message was given to another worker while this one was busy; what it holds must not be acknowledged."""


class DefectError(PipelineError):
    """A rule of our own was broken. This is a bug in the pipeline: please report it with the message."""
