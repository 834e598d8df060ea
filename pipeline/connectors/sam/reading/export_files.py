"""Which files an export has, and in which order: that of its listings, or without one, that of their names."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from pipeline.connectors.sam.header import SamHeader, parse_header
from pipeline.connectors.sam.listing import ListedFile, parse_listing
from pipeline.connectors.sam.names import FileName, is_listing, parse_name, possible_names
from pipeline.connectors.sam.options import SamOptions
from pipeline.connectors.sam.reading.lines import read_lines
from pipeline.connectors.sam.storage.port import ExportStorage
from pipeline.domain.errors import AbsentError, ConfigurationError, UnreadableError
from pipeline.domain.ids import Phase


@dataclass(frozen=True, slots=True)
class ExportFile:
    """A file to read. `stored` is the name of its object; empty when the listing names it and it is not there."""

    full_name: str
    stored: str
    name: FileName | None
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class ExportFiles:
    """The files in order, and the names of those that look like parts of tables and are in no listing.

    `objects` are all objects by name, each with a text that changes with its content.
    """

    files: Sequence[ExportFile]
    objects: Mapping[str, str]
    unlisted: Sequence[str]


async def find_files(storage: ExportStorage, options: SamOptions, location: str) -> ExportFiles:
    """Find the files of an export. ConfigurationError when the place holds something else."""
    present = await storage.objects()
    names = list(present)
    if options["listing"] and options["listing"] not in present:
        raise ConfigurationError(f"{location}: there is no listing {options['listing']!r}; check the option listing")
    listings = [options["listing"]] if options["listing"] else [name for name in names if is_listing(name)]
    parts = [name for name in names if parse_name(name)]
    if names and not listings and not parts:
        raise ConfigurationError(
            f"{location}: this is no export: it has neither a listing (listing/…-metadata.json) nor files such as "
            "TABLE_full_0.ndjson; check the path"
        )
    listed = [_located(one, present) for entries in await _read_listings(storage, listings, present) for one in entries]
    files = [*_first_of_each(listed)]
    known = {file.stored for file in files} | {str(file.name) for file in files if file.name}
    unlisted = [name for name in parts if name not in known and str(parse_name(name)) not in known]
    if not listings or options["unlisted"] == "read":
        more = [ExportFile(name, name, parse_name(name)) for name in unlisted]
        return ExportFiles([*files, *sorted(more, key=_by_name)], present, ())
    return ExportFiles(files, present, unlisted)


def _by_name(file: ExportFile) -> tuple[str, bool, int, str]:
    assert file.name is not None
    return file.name.table, file.name.phase is Phase.INCREMENTAL, file.name.chunk, file.stored


def _first_of_each(files: Iterable[ExportFile]) -> Iterable[ExportFile]:
    seen: set[str] = set()
    for file in files:
        identity = file.stored or f"missing {file.full_name}"
        if identity not in seen:
            seen.add(identity)
            yield file


def _located(entry: ListedFile, names: Container[str]) -> ExportFile:
    stored = next((name for name in possible_names(entry.file_id, entry.full_name) if name in names), "")
    name = parse_name(entry.full_name) or parse_name(stored)
    return ExportFile(entry.full_name, stored, name, entry.sha256)


async def _read_listings(
    storage: ExportStorage, listings: Sequence[str], names: Container[str]
) -> Sequence[Sequence[ListedFile]]:
    """Return the entries of each listing, those of the one with the newest file last."""
    found = []
    for listing in listings:
        entries = parse_listing((await storage.get(listing)).data, f"The listing {listing}")
        newest = await _export_time(storage, entries, names) if len(listings) > 1 else ""
        found.append((newest, listing, entries))
    return [entries for _, _, entries in sorted(found, key=lambda one: one[:2])]


async def _export_time(storage: ExportStorage, entries: Sequence[ListedFile], names: Container[str]) -> str:
    """Return the time of the last file of a listing that is there and has a header, in ISO 8601; empty without one."""
    for entry in reversed(entries):
        if stored := _located(entry, names).stored:
            try:
                return (await read_header(storage, stored)).export_time
            except (UnreadableError, AbsentError):
                continue  # it is reported when it is read as a whole
    return ""


async def read_header(storage: ExportStorage, stored: str) -> SamHeader:
    """Read the header of a file alone."""
    async with storage.open_stream(stored) as pieces, aclosing(read_lines(pieces, stored, "")) as batches:
        async for batch in batches:
            if batch:
                return parse_header(batch[0][1], stored)
    raise UnreadableError(f"the file {stored} is empty")


def missing_chunk(files: Iterable[ExportFile]) -> str | None:
    """Return the name of a file that must be there, since ones with higher numbers are; None if there is none.

    `files` are those of one table.
    """
    chunks: dict[tuple[str, Phase], set[int]] = {}
    for file in files:
        if file.name is not None:
            chunks.setdefault((file.name.table, file.name.phase), set()).add(file.name.chunk)
    for (table, phase), numbers in chunks.items():
        if len(numbers) <= max(numbers):
            first = next(number for number in range(len(numbers) + 1) if number not in numbers)
            return str(FileName(table, phase, first))
    return None
