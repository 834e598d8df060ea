"""Move an app's data: in order, exactly once, and only what changed.

The public interface is what `pipeline.assembly.public` names. It is loaded when the first of its names is used, so that
importing the package costs nothing.
"""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from pipeline.assembly.public import *  # noqa: F403

    __all__: list[str]
else:

    def __getattr__(name: str) -> object:
        """Load a public name, or the list of them. `from pipeline import module` asks here first, too."""
        is_special = name.startswith("__") and name != "__all__"
        if not is_special and find_spec(f"{__name__}.{name}") is None:
            public = importlib.import_module("pipeline.assembly.public")
            if name == "__all__":
                return ["__version__", *public.__all__]
            if name in public.__all__:
                return getattr(public, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted(importlib.import_module(__name__).__all__)
