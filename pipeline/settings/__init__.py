"""What can be set, its defaults and its limits; parsed once, at the top.

A setting comes from, in rising order: its default, a TOML file, the environment (`PIPELINE_` and its name in
capitals), a flag. Everything that is wrong is reported at once, each under the name that the user wrote.
"""

from __future__ import annotations

from pipeline.settings.reading import load_settings
from pipeline.settings.values import ENVIRONMENT_PREFIX, Settings

__all__ = ["ENVIRONMENT_PREFIX", "Settings", "load_settings"]
