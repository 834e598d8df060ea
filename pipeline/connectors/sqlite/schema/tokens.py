"""Parts of a CREATE TABLE statement that no PRAGMA gives: found, and taken out, token by token."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from itertools import pairwise

from pipeline.connectors.sqlite.app_code import is_of_the_app

_TOKEN = re.compile(
    r"""--[^\n]* | /\*.*?\*/ | '(?:[^']|'')*' | "(?:[^"]|"")*" | `(?:[^`]|``)*` | \[[^\]]*\] | \w+ | [(),]""",
    re.S | re.X,
)


def checks_in(create_table: str) -> list[str]:
    """Return the CHECK constraints of a statement, by name or else by condition: no PRAGMA lists them."""
    tokens = _tokens(create_table)
    return [_check_name(create_table, tokens, at) for at, token in enumerate(tokens) if token[0].upper() == "CHECK"]


def without_collations(create_table: str) -> str:
    """Return a statement without the collations that only the app knows."""
    tokens = _tokens(create_table)
    return _without(create_table, (tokens[at : at + 2] for at in _app_collations(tokens)))


def app_collations_in(create_table: str) -> list[str]:
    """Return the collations of a statement that only the app knows."""
    tokens = _tokens(create_table)
    return sorted({_plain(tokens[at + 1][0]) for at in _app_collations(tokens)})


def with_virtual_columns(create_table: str, functions: Collection[str]) -> str:
    """Return a statement in which generated columns that call one of `functions` are not stored."""
    tokens = _tokens(create_table)
    words = [token[0].upper() for token in tokens]
    called = {name.upper() for name in functions}
    stored = []
    for at, word in enumerate(words[:-1]):
        if word == "AS" and words[at + 1] == "(":
            end = _end_of_group(words, at + 1)
            if called & set(words[at:end]) and words[end : end + 1] == ["STORED"]:
                stored.append(tokens[end : end + 1])
    return _without(create_table, stored)


def stored_columns_in(create_table: str) -> int:
    """Return the number of stored generated columns of a statement."""
    words = [token[0].upper() for token in _tokens(create_table)]
    return sum(before == ")" and word == "STORED" for before, word in pairwise(words))


def _tokens(statement: str) -> list[re.Match[str]]:
    return [token for token in _TOKEN.finditer(statement) if not token[0].startswith(("--", "/*"))]


def _app_collations(tokens: Sequence[re.Match[str]]) -> Iterator[int]:
    for at, token in enumerate(tokens[:-1]):
        if token[0].upper() == "COLLATE" and is_of_the_app(_plain(tokens[at + 1][0])):
            yield at


def _plain(name: str) -> str:
    return name.strip("\"'`[]")


def _without(text: str, parts: Iterator[Sequence[re.Match[str]]] | Sequence[Sequence[re.Match[str]]]) -> str:
    for part in reversed(list(parts)):
        text = text[: part[0].start()].rstrip() + text[part[-1].end() :]
    return text


def _end_of_group(words: Sequence[str], opening: int) -> int:
    """Return the place after the parenthesis that closes the one at `opening`."""
    depth = 0
    for at in range(opening, len(words)):
        depth += {"(": 1, ")": -1}.get(words[at], 0)
        if depth == 0:
            return at + 1
    return len(words)


def _check_name(text: str, tokens: Sequence[re.Match[str]], at: int) -> str:
    if at >= 2 and tokens[at - 2][0].upper() == "CONSTRAINT":
        return _plain(tokens[at - 1][0])
    end = _end_of_group([token[0] for token in tokens], at + 1)
    return " ".join(text[tokens[at].end() : tokens[end - 1].end()].split())
