"""The authors' interface: an Exporter gets data out of an app, an Importer loads it into one. docs/reference/kit.md.

A name is loaded when it is used, since most Flows have no plug-in.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.kit.configuration.secret import Secret as Secret
    from pipeline.kit.context import Ids as Ids
    from pipeline.kit.context import Import as Import
    from pipeline.kit.declared import Delivery as Delivery
    from pipeline.kit.errors import Again as Again
    from pipeline.kit.errors import Gone as Gone
    from pipeline.kit.errors import Refused as Refused
    from pipeline.kit.errors import Stop as Stop
    from pipeline.kit.exporter import Exporter as Exporter
    from pipeline.kit.importer import Creates as Creates
    from pipeline.kit.importer import Importer as Importer
    from pipeline.kit.values import (
        Batch as Batch,
    )
    from pipeline.kit.values import (
        Binary as Binary,
    )
    from pipeline.kit.values import (
        Changes as Changes,
    )
    from pipeline.kit.values import (
        Delete as Delete,
    )
    from pipeline.kit.values import (
        Finding as Finding,
    )
    from pipeline.kit.values import (
        Json as Json,
    )
    from pipeline.kit.values import (
        Key as Key,
    )
    from pipeline.kit.values import (
        Level as Level,
    )
    from pipeline.kit.values import (
        NaiveDatetime as NaiveDatetime,
    )
    from pipeline.kit.values import (
        Page as Page,
    )
    from pipeline.kit.values import (
        Upsert as Upsert,
    )

_MODULES = {
    "configuration.secret": ("Secret",),
    "context": ("Ids", "Import"),
    "declared": ("Delivery",),
    "errors": ("Again", "Gone", "Refused", "Stop"),
    "exporter": ("Exporter",),
    "importer": ("Creates", "Importer"),
    "values": (
        "Batch",
        "Binary",
        "Changes",
        "Delete",
        "Finding",
        "Json",
        "Key",
        "Level",
        "NaiveDatetime",
        "Page",
        "Upsert",
    ),
}
_PLACES = {name: module for module, names in _MODULES.items() for name in names}
__all__ = sorted(_PLACES)


def __getattr__(name: str) -> object:
    """Load a public name."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)
