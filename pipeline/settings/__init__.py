"""All settings, with their defaults and limits. They are read once, when a command starts.

A setting comes from, in rising order: its default, a TOML file, the environment (`PIPELINE_` and its name in capitals), a
flag. Everything that is wrong is reported at once, each mistake under the name that the user has written.
"""

from __future__ import annotations

from pipeline.settings.reading import load_settings
from pipeline.settings.values import ENVIRONMENT_PREFIX, Settings, rules

__all__ = ["ENVIRONMENT_PREFIX", "Settings", "load_settings", "rules"]
