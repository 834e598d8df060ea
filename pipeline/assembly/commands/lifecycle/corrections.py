"""Rejected records in CSV: written for a person to correct, and read again."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import IO, Any

import orjson

from pipeline.codec.cells import guarded, unguarded
from pipeline.codec.values import dumps, refuse_wide_integers
from pipeline.domain.errors import ConfigurationError, DamagedError
from pipeline.ports.destination import KeptRecord

COLUMNS = ("file", "line", "key", "column", "value", "reason", "stream", "record")
"""The columns of the CSV. A person corrects `value`, or `record`, the whole JSON line."""
DELIMITERS = ",;\t"
"""What a spreadsheet writes between the cells. The titles have none of them."""
MAX_CELL = (1 << 31) - 1
"""The csv module refuses more than 131,072 characters in a cell by default, and a record may have more."""


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A rejected record for people. `file` and `line` are None for one that the source could not give.

    `value` is that of `column` as JSON has it, None if the reason names no column. `record` is the JSON line.
    """

    stream: str
    file: str | None
    line: int | None
    key: str
    column: str | None
    value: object
    reason: str
    record: str = ""


@dataclass(frozen=True, slots=True)
class Correction:
    """A row of the CSV, which says where it stands there: `row` is its number, the first below the titles is 2."""

    row: int
    file: str
    line: str
    column: str
    value: str
    record: str


def cell_of(value: object) -> str:
    """Return a value as a cell: text as it is, anything else as JSON."""
    return value if isinstance(value, str) else "" if value is None else dumps(value).decode()


def write_csv(rows: Iterable[RejectedRow], file: IO[str]) -> None:
    """Write rejected records with their titles."""
    writer = csv.writer(file)
    writer.writerow(COLUMNS)
    for row in rows:
        line = "" if row.line is None else row.line
        value = cell_of(row.value)
        cells = (row.file or "", line, row.key, row.column or "", value, row.reason, row.stream, row.record)
        writer.writerow(guarded(cells))


def read_csv(file: IO[str], name: str) -> Sequence[Correction]:
    """Read what a person has corrected. ConfigurationError when a column is missing, or the file is no CSV."""
    csv.field_size_limit(MAX_CELL)
    try:
        titles = file.readline()
        delimiter = max(DELIMITERS, key=titles.count)
        return _read_rows(csv.DictReader(chain([titles], file), delimiter=delimiter), name)
    except csv.Error as error:
        raise ConfigurationError(f"{name} is no CSV: {error}. Save it as CSV, and load it again.") from error


def _read_rows(reader: csv.DictReader[str], name: str) -> Sequence[Correction]:
    wanted = ("file", "line", "column", "value")
    missing = [title for title in wanted if title not in (reader.fieldnames or ())]
    if missing:
        raise ConfigurationError(
            f"{name} has no column {', '.join(missing)}. Correct a file that `pipeline rejected FLOW --csv FILE` has written."
        )
    return [
        Correction(number, *(unguarded(str(row.get(title) or "")) for title in (*wanted, "record")))
        for number, row in enumerate(reader, start=2)
        if any(row.values())  # a spreadsheet may add empty rows
    ]


def corrected(flow: str, kept: Sequence[KeptRecord], corrections: Sequence[Correction]) -> Sequence[KeptRecord]:
    """Return the rejected records that a person has corrected, with their new contents.

    Rows that are as they were are left out. ConfigurationError names every row that cannot be taken, and why.
    """
    known = {(str(one.rejection.file), str(one.rejection.line)): one for one in kept}
    problems: list[str] = []
    found: list[KeptRecord] = []
    rows: dict[tuple[str, str], int] = {}
    for correction in corrections:
        before = known.get((correction.file, correction.line))
        if before is None:
            problems.append(
                f"row {correction.row}: Flow {flow!r} has no rejected record in {correction.file or 'no file'}"
            )
            continue
        try:
            record = _record(before, correction)
        except (ValueError, DamagedError) as error:
            problems.append(f"row {correction.row}: {error}")
            continue
        if record == before.record:
            continue
        first = rows.setdefault((correction.file, correction.line), correction.row)
        if first != correction.row:
            problems.append(f"row {correction.row}: row {first} corrects the same record: leave one of them")
        found.append(replace(before, record=record))
    if problems:
        more = f" … and {len(problems) - 20} more" if len(problems) > 20 else ""
        raise ConfigurationError("Nothing was loaded. " + "; ".join(problems[:20]) + more + ".")
    if not found:
        raise ConfigurationError("No row was corrected: change `value`, or `record`, and load the file again.")
    return found


def _record(before: KeptRecord, correction: Correction) -> bytes:
    """Return the corrected content. ValueError or DamagedError says what is wrong with it."""
    text = before.record.decode(errors="backslashreplace")
    ((kind, body),) = orjson.loads(before.record).items()
    if correction.record and correction.record != text:
        return _whole(before, correction.record)
    column = correction.column
    if correction.value == (cell_of(body.get(column)) if column else ""):
        return before.record
    if not column:
        raise ValueError("the reason names no column: correct `record`, or write the name of the column of `value`")
    if column not in body:
        raise ValueError(f"the record has no column {column!r}")
    record = dumps({kind: {**body, column: _value(body[column], correction.value)}})
    return _whole(before, record.decode())


def _value(before: object, text: str) -> object:
    """Read a cell as the value before was written: text as it is, anything else as JSON, if it is JSON."""
    if isinstance(before, str):
        return text
    if not text:
        return None
    try:
        value: object = _loads(text, "the value")
    except ValueError:
        return text
    return value


def _loads(text: str, what: str) -> Any:
    """Read JSON. ValueError if it is none; DamagedError for an integer that would become another number."""
    refuse_wide_integers(text.encode(), what)
    return orjson.loads(text)


def _whole(before: KeptRecord, text: str) -> bytes:
    """Check a whole record: it must be one of the kind and the key before."""
    try:
        ((kind, body),) = _loads(text, "the record").items()
        ((kind_before, body_before),) = orjson.loads(before.record).items()
    except (orjson.JSONDecodeError, AttributeError, ValueError):
        raise ValueError('the record is not a JSON object such as {"upsert": {…}}') from None
    if kind != kind_before or not isinstance(body, dict):
        raise ValueError(f"the record must stay of the kind {kind_before!r}")
    if set(body) != set(body_before):
        raise ValueError("the record must keep its columns")
    changed = [name for name in before.key_columns if body.get(name) != body_before.get(name)]
    if changed:
        raise ValueError(
            f"the key of a record cannot be changed ({', '.join(changed)}): add the other record at the source"
        )
    return text.encode()
