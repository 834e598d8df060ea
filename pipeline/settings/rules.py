"""The rule of one setting: its type and limits, checked by msgspec, and in words."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from datetime import date
from pathlib import Path
from reprlib import Repr
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

_TRUE, _FALSE = frozenset({"1", "true", "t", "yes", "y", "on"}), frozenset({"0", "false", "f", "no", "n", "off"})

LIST = tuple[str, ...]
"""The type of a setting that is a list of texts."""


class _Brief(Repr):
    """Shows values in a message: short, however large or deeply nested they are."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = 200
        self.maxlevel = 2

    def repr_bool(self, x: bool, level: int) -> str:
        return str(x).lower()

    def repr_date(self, x: date, level: int) -> str:
        return x.isoformat()

    repr_datetime = repr_time = repr_date

    def repr_int(self, x: int, level: int) -> str:
        return super().repr_int(x, level) if x.bit_length() <= 128 else f"an integer of {x.bit_length():,} bits"


@dataclass(frozen=True, slots=True)
class Rule:
    """What a setting may be. `least` and `most` are the limits of a number."""

    name: str
    type_: Any
    meta: Meta
    default: object

    @property
    def description(self) -> str:
        """What the setting is for."""
        return self.meta.description or ""

    @property
    def least(self) -> float | None:
        """The smallest number."""
        return self.meta.ge

    @property
    def most(self) -> float | None:
        """The largest number."""
        return self.meta.le

    @property
    def form(self) -> str:
        """What a value has to be, in words."""
        if self.meta.extra:
            return str(self.meta.extra["form"])
        if get_origin(self.type_) is Literal:
            return "one of " + ", ".join(f'"{choice}"' for choice in get_args(self.type_))
        if self.type_ in (int, float):
            kind = "a whole number" if self.type_ is int else "a number"
            return f"{kind} from {self.least:,} to {self.most:,}"
        return {bool: "true or false", Path: "a path", str: "a text"}[self.type_]

    def read(self, value: object) -> Any:
        """Return a value as the setting's type. ValueError, which says what it has to be, when it is not valid."""
        try:
            if self.type_ == LIST:
                return self._list(value)
            if isinstance(value, str | os.PathLike) and self.type_ is Path:
                return Path(value).expanduser()
            return msgspec.convert(self._prepared(value), self._annotated, strict=False)
        except (msgspec.ValidationError, ValueError, RuntimeError):  # RuntimeError: no home directory for ~
            shown = "the value" if "secret" in self.name else _Brief().repr(_plain(value))
            raise ValueError(f"{shown} is not valid. It must be {self.form}.") from None

    @property
    def _annotated(self) -> Any:
        return Annotated[self.type_, self.meta]

    def _list(self, value: object) -> tuple[str, ...]:
        """Return a list of texts, which the environment has as one text with spaces between them."""
        texts = msgspec.convert(value.split() if isinstance(value, str) else value, LIST)
        if not all(re.fullmatch(self.meta.extra["item"], text) for text in texts if self.meta.extra):
            raise ValueError
        return texts

    def _prepared(self, value: object) -> object:
        """Return a text, such as the environment has, as msgspec reads it."""
        if not isinstance(value, str) or self.type_ not in (int, float, bool):
            return value
        text = value.strip()
        if self.type_ is bool:
            return True if text.lower() in _TRUE else False if text.lower() in _FALSE else text
        return text.replace("_", "")


def _plain(value: object) -> object:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def rules_of(settings: type) -> Mapping[str, Rule]:
    """Return the rules of a dataclass whose fields are annotated with `msgspec.Meta`, by name."""
    hints = get_type_hints(settings, include_extras=True)
    rules = {}
    for field in fields(settings):
        type_, meta = get_args(hints[field.name])
        assert field.default is not MISSING
        rules[field.name] = Rule(field.name, type_, meta, field.default)
    return rules
