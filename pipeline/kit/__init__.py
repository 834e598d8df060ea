"""The authors' interface: an Exporter gets data out of an app, an Importer loads it into one. docs/reference/kit.md.

A name is loaded when it is used, since most Flows have no plug-in.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.kit.configuration.secret import Secret
    from pipeline.kit.context import Ids, Import
    from pipeline.kit.declared import Delivery
    from pipeline.kit.errors import Again, Gone, Refused, Stop
    from pipeline.kit.exporter import Exporter
    from pipeline.kit.importer import Creates, Importer, Stages, Transaction
    from pipeline.kit.values import (
        Batch,
        Binary,
        Changes,
        Delete,
        Finding,
        Json,
        Key,
        Level,
        NaiveDatetime,
        Page,
        StagedFile,
        Upsert,
    )
    from pipeline.kit.webhooks import InvalidWebhook, RepeatedWebhook, verify_webhook

__all__ = [
    "Again",
    "Batch",
    "Binary",
    "Changes",
    "Creates",
    "Delete",
    "Delivery",
    "Exporter",
    "Finding",
    "Gone",
    "Ids",
    "Import",
    "Importer",
    "InvalidWebhook",
    "Json",
    "Key",
    "Level",
    "NaiveDatetime",
    "Page",
    "Refused",
    "RepeatedWebhook",
    "Secret",
    "StagedFile",
    "Stages",
    "Stop",
    "Transaction",
    "Upsert",
    "verify_webhook",
]
_MODULES = ("values", "errors", "context", "declared", "configuration.secret", "exporter", "importer", "webhooks")


def __getattr__(name: str) -> object:
    """Load a public name."""
    if name in __all__:
        for module in _MODULES:
            found = getattr(importlib.import_module(f"{__name__}.{module}"), name, None)
            if found is not None:
                return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
