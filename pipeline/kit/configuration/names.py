"""How a person gives a setting."""

from __future__ import annotations

from dataclasses import dataclass

REQUIRES = "requires"
"""The setting that is not the author's: the delivery level that a Flow needs at least."""


@dataclass(frozen=True, slots=True)
class SettingNames:
    """The option that gives a setting, and the beginning of the name of its variable in the environment."""

    flag: str
    prefix: str

    def missing(self, name: str, plugin: str) -> str:
        """Return the sentence about a missing setting."""
        variable = f"{self.prefix}{name.upper()}"
        return (
            f"The setting {name!r} of {plugin} is missing. Give it with {self.flag} {name}=…, or {variable} in the "
            "environment."
        )
