"""The rows that an Importer's `dump` gives, checked, and the destination that its `scratch` gives."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from pipeline.domain.errors import UnreadableError
from pipeline.domain.ids import StreamName
from pipeline.kit.authors_line import line_of, misuse
from pipeline.kit.calls import iterated, opened
from pipeline.kit.importer import Importer
from pipeline.kit.ledger.id_map import KEY_PARTS
from pipeline.kit.values import Key


@dataclass(frozen=True, slots=True)
class DumpedRow:
    """A row at the destination: its stream, its key there, a tuple of several values or one, and its values by column."""

    stream: StreamName
    key: Key
    row: Mapping[str, object]


async def dumped_rows(importer: Importer, target: Any) -> AsyncGenerator[DumpedRow, None]:
    """Yield all rows of the open app `target`, in the order of the author's function.

    ConfigurationError when the Importer has no `dump`; UnreadableError when what it yields is no row.
    """
    function = importer.dump_function
    if function is None:
        raise misuse(importer.line, f"the Importer {importer.name!r} has no `dump`", "Declare one with @importer.dump")
    async with aclosing(iterated(function, target, what=f"the dump of {importer.name!r}")) as rows:
        async for given in rows:
            if (fault := _fault(given)) is not None:
                raise UnreadableError(
                    f"{line_of(function)}: the dump yields {fault}. Yield the stream, the key and the row"
                )
            stream, key, row = given
            if isinstance(key, tuple) and len(key) == 1:
                (key,) = key
            yield DumpedRow(StreamName(stream), key, row)


def _fault(given: object) -> str | None:
    if not (isinstance(given, tuple) and len(given) == 3):
        return f"a {type(given).__name__} that is no tuple of three"
    stream, key, row = given
    if not isinstance(stream, str) or not stream:
        return f"a {type(stream).__name__} in place of the name of a stream"
    parts = key if isinstance(key, tuple) else (key,)
    if not parts:
        return f"an empty tuple in place of a key of {stream!r}"
    wrong = next((part for part in parts if not isinstance(part, KEY_PARTS)), ())
    if wrong != ():
        return (
            f"{type(wrong).__name__} in place of {'a part of the' if isinstance(key, tuple) else 'a'} key of {stream!r}"
        )
    if not isinstance(row, Mapping) or not all(isinstance(name, str) for name in row):
        return f"a {type(row).__name__} in place of a row of {stream!r}, which maps names of columns to values"
    return None


@asynccontextmanager
async def scratch(importer: Importer) -> AsyncIterator[Any]:
    """Open a new, empty app, as `connect` would. ConfigurationError when the Importer has no `scratch`."""
    function = importer.scratch_function
    if function is None:
        fault = f"the Importer {importer.name!r} has no `scratch`"
        raise misuse(importer.line, fault, "Declare one with @importer.scratch")
    async with opened(function, function, f"the scratch destination of {importer.name!r}") as target:
        yield target
