"""Secrets that have been revealed are masked in all that is shown, logged or stored of errors and of authors' texts.

A secret is found as it is and as `repr`, JSON, a URL or base64 write it, also when base64 holds more than the secret, such as
`user:secret`. It is not found in other encodings (a hash, hexadecimal digits, a compressed text), nor where only a part
of it is, nor in base64 that is broken into lines.
"""

from __future__ import annotations

import re
import sys
from base64 import b64encode
from collections.abc import Mapping
from itertools import groupby

LEAST_CHARACTERS = 4
"""A shorter secret is not masked: half of all messages would be `***`, and where it was would tell what it is."""
MASK = "***"

_NAMED = {"\n": "n", "\r": "r", "\t": "t", "\b": "b", "\f": "f", "\v": "v"}
_BASE64_RUN = re.compile(r"[A-Za-z0-9+/_%-]+={0,2}")
_SEXTET, _OCTET = 6, 8
_MOST_BITS = 14_000
"""Python refuses to write a longer integer in decimal digits."""

_plain: dict[str, re.Pattern[str]] = {}
_base64: dict[str, re.Pattern[str]] = {}


def add_secret(secret: str) -> None:
    """Mask this secret from now on."""
    if secret not in _plain and len(secret) >= LEAST_CHARACTERS:
        _base64[secret] = re.compile("|".join(_in_base64(secret.encode(errors="surrogateescape"))))
        _plain[secret] = re.compile(_written(secret))


def forget_secrets() -> None:
    """Mask nothing that was revealed so far. For tests."""
    _plain.clear()
    _base64.clear()


def masked(text: str) -> str:
    """Return `text` with `***` in place of secrets, and of whole runs of base64 that have one in them."""
    found = [match.span() for pattern in list(_plain.values()) for match in pattern.finditer(text)]
    inner = [pattern for pattern in list(_base64.values()) if pattern.search(text)]
    if inner:
        runs = _BASE64_RUN.finditer(text)
        found += [run.span() for run in runs if any(pattern.search(run[0]) for pattern in inner)]
    if not found:
        return text
    pieces, end = list[str](), 0
    for start, stop in sorted(found):
        if start >= end:
            pieces += text[end:start], MASK
        end = max(end, stop)
    return "".join([*pieces, text[end:]])


def masked_value(value: object) -> object:
    """Return a value as JSON may hold it, with masked texts, names and numbers. A value of another type becomes its `repr`."""
    match value:
        case Mapping():
            return {masked(str(name)): masked_value(one) for name, one in value.items()}
        case list() | tuple():
            return [masked_value(one) for one in value]
        case str():
            return masked(value)
        case None | bool():
            return value
        case int() if value.bit_length() > _MOST_BITS:
            return masked(hex(value))
        case int() | float():
            return MASK if masked(str(value)) != str(value) else value
        case _:
            return masked(repr(value))


def print_masked(text: str) -> None:
    """Print a text, masked, on standard error."""
    print(masked(text), file=sys.stderr, flush=True)


def _written(secret: str) -> str:
    """Return a pattern of a secret as it is, and as `repr`, JSON and URLs write it, also one within the other."""
    parts, after_backslash = list[str](), False
    for character, run in groupby(secret):
        if character == "\\":
            length = len(list(run))
            parts.append(rf"(?:\\{{{length},{16 * length}}}|(?:{_coded(character)}){{{length}}})")
        else:
            own = _character(character, escaped=not after_backslash)
            rest = _character(character, escaped=True)
            parts += [own, *[rest for _ in list(run)[1:]]]
        after_backslash = character == "\\"
    return "".join(parts)


def _character(character: str, *, escaped: bool) -> str:
    if character.isascii() and (character.isalnum() or character in "_.~-"):
        return re.escape(character)
    backslashes = r"\\{0,16}" if escaped and character.isascii() else ""
    as_it_is = r"\r?\n[ |]*" if character == "\n" else re.escape(character)  # a traceback of a group indents lines
    named = rf"|\\{{1,16}}{_NAMED[character]}" if character in _NAMED else ""
    space = r"|\+" if character == " " else ""
    return f"(?:{backslashes}{as_it_is}{named}{space}|{_coded(character)})"


def _coded(character: str) -> str:
    """Return a pattern of a character as codes: `%2F`, `\\x2f`, `\\u002f`."""
    point, octets = ord(character), character.encode(errors="surrogatepass")
    units = character.encode("utf-16-be", errors="surrogatepass")
    percent = "".join(f"%(?:25)*{octet:02x}" for octet in octets)
    as_bytes = "".join(rf"\\{{1,16}}x{octet:02x}" for octet in octets)
    as_json = "".join(rf"\\{{1,16}}u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))
    latin = rf"|\\{{1,16}}x{point:02x}" if point < 256 else ""
    return rf"(?i:{percent}|{as_bytes}|{as_json}{latin}|\\{{1,16}}U{point:08x})"


def _in_base64(secret: bytes) -> list[str]:
    """Return patterns of what base64 writes of a secret whatever is before and after it: one for each place in three bytes."""
    found = []
    for before in range(3):
        digits = b64encode(b"\0" * before + secret).decode()
        first, end = -(-before * _OCTET // _SEXTET), (before + len(secret)) * _OCTET // _SEXTET
        found.append("".join(map(_base64_digit, digits[first:end])))
    return found


def _base64_digit(digit: str) -> str:
    return {"+": "(?:[+-]|%(?:25)*2[Bb])", "/": "(?:[/_]|%(?:25)*2[Ff])"}.get(digit, digit)
