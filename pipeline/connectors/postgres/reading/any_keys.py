"""Keys of SQLite in a copy of it: columns of JSON, text or decimals whose values stand for those of any kind.

They are read as the values that they stand for, in the order of `pipeline.domain.keys.order`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import orjson

from pipeline.codec.values import from_json
from pipeline.domain.errors import UnreadableError
from pipeline.domain.keys import KeyValue

_NUMBER = r"-?(0|[1-9][0-9]*)([.][0-9]+)?([eE][+-]?[0-9]+)?"
_IS_NUMBER = re.compile(_NUMBER)
_INFINITE = {"Infinity": float("inf"), "-Infinity": float("-inf")}
_JSON = ("json", "jsonb")


def any_key_order(name: str, base_type: str) -> str:
    """Return the terms of ORDER BY for the column `name`: numbers, then text by its bytes, then bytes."""
    if base_type in _JSON:
        value = f"{name}::jsonb"
        is_number, is_text = (f"jsonb_typeof({value}) = '{kind}'" for kind in ("number", "string"))
        text, infinite = f"{value} #>> '{{}}'", f"{value} ->> '$float'"
        kind = (
            f"CASE WHEN {is_number} OR {infinite} IS NOT NULL THEN 1 WHEN {is_text} OR {value} ->> '$text' IS NOT NULL THEN 2 "
            "ELSE 3 END"
        )
        coded = f"decode(coalesce({value} ->> '$text', {value} ->> '$bytes'), 'base64')"
        data = f"CASE WHEN {is_text} THEN convert_to({text}, 'UTF8') ELSE {coded} END"
        below, above = "-inf", "inf"
    else:
        text = infinite = f"{name}::text"
        is_number = f"{text} ~ '^{_NUMBER}$'"
        kind = f"CASE WHEN {is_number} OR {text} IN ('Infinity', '-Infinity') THEN 1 ELSE 2 END"
        data = f"convert_to({text}, 'UTF8')"
        below, above = "-Infinity", "Infinity"
    sign = f"CASE {infinite} WHEN '{below}' THEN -1 WHEN '{above}' THEN 1 ELSE 0 END"
    return f"{kind}, {sign}, CASE WHEN {is_number} THEN ({text})::numeric END, {data}"


def read_json_keys(texts: Sequence[bytes]) -> Sequence[KeyValue]:
    """Return the values that JSON stands for. Each of `texts` is a JSON string with the text of the value."""
    return [from_json(orjson.loads(text)) for text in _strings(texts)]


def read_text_keys(texts: Sequence[bytes]) -> Sequence[KeyValue]:
    """Return the values that text stands for: a number where it looks like one. UnreadableError for NaN."""
    return list(map(_value, _strings(texts)))


def _strings(texts: Sequence[bytes]) -> Sequence[str]:
    found: list[str] = orjson.loads(b"[%b]" % b",".join(texts))
    return found


def _value(text: str) -> KeyValue:
    if _IS_NUMBER.fullmatch(text):
        number: int | float = orjson.loads(text)
        return number
    if text == "NaN":
        raise UnreadableError(
            "a key is NaN, which has no order; give the table another key, or leave it out with --exclude", "table"
        )
    return _INFINITE.get(text, text)
