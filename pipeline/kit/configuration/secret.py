"""Secrets of a plug-in: references, resolved where they are used, never stored or shown."""

from __future__ import annotations

import os
from pathlib import Path

from pipeline.domain.errors import ConfigurationError
from pipeline.kit.authors_line import calling_line, is_called_by_author, misuse
from pipeline.masking import add_secret, masked

REFERENCES = ("env:", "file:")


def without_secrets(text: str) -> str:
    """Return an author's text as it may be shown and stored: without revealed secrets, and without lone surrogates."""
    return masked(text).encode(errors="backslashreplace").decode()


def text_of(error: BaseException) -> str:
    """Return what an author's exception says, without secrets. Its class may be the author's, too, and fail."""
    try:
        return without_secrets(str(error))[:300]
    except Exception as failure:  # noqa: BLE001  # an author's `__str__` raises what it likes
        return f"its text cannot be read, since `__str__` raises {type(failure).__name__}"


def described(value: object) -> str:
    """Return a value of an author's for people, in 100 characters at most, or its type, since rows may be in it."""
    plain = isinstance(value, str | int | float | bytes | None)
    return without_secrets(repr(value))[:100] if plain else f"a value of the type {type(value).__name__}"


class Secret:
    """A secret as an author's setting. `reveal()` gives its text; it is shown as `Secret(…)` everywhere else."""

    __slots__ = ("_reference",)

    def __init__(self, reference: str = "") -> None:
        """`reference` is `env:NAME`, `file:PATH`, or empty for no secret.

        ConfigurationError, which does not quote it, for anything else: a secret must not be given in plain.
        """
        if reference and not reference.startswith(REFERENCES):
            remedy = "Give a reference: env:NAME for an environment variable, or file:PATH"
            if is_called_by_author():
                raise misuse(calling_line(), "a secret is given in plain", remedy)
            raise ConfigurationError(f"A secret is given in plain. {remedy}.")
        self._reference = reference

    @property
    def reference(self) -> str:
        """Where the secret is: `env:NAME`, `file:PATH`, or empty."""
        return self._reference

    def reveal(self) -> str:
        """Return the secret, an empty text for none. ConfigurationError names the reference when it leads nowhere."""
        text = self._read()
        if text:
            add_secret(text)
        return text

    def _read(self) -> str:
        kind, _, name = self._reference.partition(":")
        if kind == "env":
            value = os.environ.get(name)
            if value is None:
                raise ConfigurationError(f"The environment has no variable {name}, which a secret refers to. Set it.")
            return value
        if kind == "file":
            try:
                return Path(name).expanduser().read_text().rstrip("\r\n")
            except (OSError, ValueError, RuntimeError) as error:
                raise ConfigurationError(f"The file {name}, which a secret refers to, cannot be read.") from error
        return ""

    def __repr__(self) -> str:
        return "Secret(…)" if self._reference else "Secret()"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._reference == self._reference

    def __hash__(self) -> int:
        return hash(self._reference)
