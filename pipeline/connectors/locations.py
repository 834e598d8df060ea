"""What a person types for a place, read once: a URL or a bare path becomes the one name of that place."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from pipeline.domain.errors import ConfigurationError
from pipeline.domain.ids import FlowName


class Technology(StrEnum):
    """Which connector a place belongs to; the value is the scheme of its URLs."""

    SQLITE = "sqlite"
    FILES = "file"


@dataclass(frozen=True, slots=True)
class Location:
    """A place. `path` is absolute; `url` is its one name, whatever was typed."""

    technology: Technology
    path: Path

    @property
    def url(self) -> str:
        """The place as a URL without secrets."""
        return f"{self.technology.value}:///{quote(str(self.path), safe='/', errors='surrogateescape')}"


_SQLITE_MAGIC = b"SQLite format 3\x00"


def parse_location(text: str, *, like: Technology | None = None) -> Location:
    """Read a URL (`sqlite:///relative.db`, `sqlite:////absolute.db`, `file:///directory/`) or a bare path.

    A bare path to a directory, or ending in a slash, is a tree of files; to anything else a database. Of a path that
    does not exist and does not end in a slash, `like` decides: what it is to be a copy of. ConfigurationError otherwise.
    """
    if "://" in text:
        return _parse_url(text)
    if not text:
        raise ConfigurationError("A location is empty. Give a path, or a URL such as sqlite:///app.db or file:///dir/.")
    path = Path(text).absolute()
    if path.is_dir() or text.endswith("/"):
        return Location(Technology.FILES, path)
    if path.exists() or like is None:
        return Location(Technology.SQLITE, path)
    return Location(like, path)


def _parse_url(text: str) -> Location:
    parts = urlsplit(text)
    try:
        technology = Technology(parts.scheme)
    except ValueError:
        known = ", ".join(f"{technology.value}:///…" for technology in Technology)
        raise ConfigurationError(
            f"{parts.scheme}: is no scheme this release can move. It can move {known} and bare paths."
        ) from None
    if parts.netloc or parts.query or parts.fragment:
        raise ConfigurationError(
            f"{text!r} is not a location on this machine. Write {technology.value}:///path, with three slashes, and "
            "percent-encode a ? or # in the path."
        )
    path = unquote(parts.path, errors="surrogateescape")
    if technology is Technology.SQLITE:
        path = path[1:]  # sqlite:///relative.db, sqlite:////absolute.db
    if not path or "\0" in path:
        raise ConfigurationError(f"{text!r} names no path.")
    return Location(technology, Path(path).absolute())


def default_flow_name(source: Location, destination: Location) -> FlowName:
    """Return the name of the Flow between two places: readable, and different for different places."""
    digest = hashlib.sha256(f"{source.url}\n{destination.url}".encode("utf-8", "surrogateescape")).hexdigest()[:8]
    names = [location.path.stem.encode("utf-8", "replace").decode() or "root" for location in (source, destination)]
    return FlowName(f"{names[0]}-to-{names[1]}-{digest}")
