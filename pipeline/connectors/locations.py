"""What a person types for a place, read once: a URL or a bare path becomes the one name of that place."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from pipeline.domain.errors import ConfigurationError
from pipeline.domain.ids import FlowName


class Technology(StrEnum):
    """Which connector a place belongs to; the value is the scheme of its URLs."""

    SQLITE = "sqlite"
    FILES = "file"
    POSTGRESQL = "postgresql"


@dataclass(frozen=True, slots=True)
class Location:
    """A place. `url` is its one name, whatever was typed, and holds no secret.

    `path` is absolute, and None for a place that is not a path. `typed` is what to connect with: it may hold a
    password, and is shown nowhere.
    """

    technology: Technology
    url: str
    path: Path | None = None
    typed: str = field(default="", repr=False)

    @property
    def is_database(self) -> bool:
        """Whether it holds tables and not files."""
        return self.technology is not Technology.FILES


def path_location(technology: Technology, path: Path) -> Location:
    """Return the place at a path."""
    path = path.absolute()
    return Location(technology, f"{technology.value}:///{quote(str(path), safe='/', errors='surrogateescape')}", path)


def parse_location(text: str, *, like: Technology | None = None) -> Location:
    """Read a URL (`sqlite:///relative.db`, `file:///directory/`, `postgresql://host/database`) or a bare path.

    A bare path to a directory, or ending in a slash, is a tree of files; to anything else an SQLite database. Of a path
    that does not exist and does not end in a slash, `like` decides: what it is to be a copy of. ConfigurationError
    otherwise.
    """
    if not _is_holdable(text):
        raise ConfigurationError(f"{text[:200]!r} is no location: it holds a character that no path or URL can hold.")
    if "://" in text:
        return _parse_url(text)
    if not text:
        raise ConfigurationError("A location is empty. Give a path, or a URL such as sqlite:///app.db or file:///dir/.")
    path = Path(text).absolute()
    try:
        is_directory, exists = path.is_dir() or text.endswith("/"), path.exists()
    except OSError as error:
        raise ConfigurationError(f"{text[:200]!r} cannot be looked at: {error.strerror}.") from error
    if is_directory or (not exists and like is Technology.FILES):
        return path_location(Technology.FILES, path)
    return path_location(Technology.SQLITE, path)


def _is_holdable(text: str) -> bool:
    """Whether the system can take `text` as an argument; a lone surrogate or NUL can come from elsewhere only."""
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


def _parse_url(text: str) -> Location:
    try:
        parts = urlsplit(text)
    except ValueError:
        raise _no_url() from None
    scheme = "postgresql" if parts.scheme == "postgres" else parts.scheme
    try:
        technology = Technology(scheme)
    except ValueError:
        known = ", ".join(f"{technology.value}:///…" for technology in Technology)
        raise ConfigurationError(
            f"{parts.scheme[:80]}: is no scheme this release can move. It can move {known} and bare paths."
        ) from None
    if technology is Technology.POSTGRESQL:
        try:
            text.encode()
            return Location(technology, _without_secrets(parts), typed=text)
        except ValueError:
            raise _no_url() from None
    if parts.netloc or parts.query or parts.fragment:
        raise ConfigurationError(
            f"{text[:200]!r} is not a location on this machine. Write {technology.value}:///path, with three slashes, and "
            "percent-encode a ? or # in the path."
        )
    path = unquote(parts.path, errors="surrogateescape")
    if technology is Technology.SQLITE:
        path = path[1:]  # sqlite:///relative.db, sqlite:////absolute.db
    if not path or "\0" in path:
        raise ConfigurationError(f"{text[:200]!r} names no path.")
    if technology is Technology.FILES:
        path = "/" + path.lstrip("/")  # `url` begins with file:////, and is to give this very place again
    return path_location(technology, Path(path))


def _no_url() -> ConfigurationError:
    """The error for what is no URL. It quotes nothing of it: there may be a password in any place of it."""
    return ConfigurationError(
        "A location is no URL: it has brackets, an @ or other characters where a URL takes none. Write "
        "postgresql://user@host:5432/database, an IPv6 address as [::1], and percent-encode special characters."
    )


def _without_secrets(parts: SplitResult) -> str:
    """Return the URL of a database without passwords. ValueError where one may stand that is not recognised as such."""
    user, at, host = parts.netloc.rpartition("@")
    options = [(name, value) for name, value in parse_qsl(parts.query) if name not in ("password", "sslpassword")]
    if parts.fragment or any("@" in text for text in (parts.path, *(name for name, _ in options))):
        raise ValueError("an @ or # outside of its place")
    return urlunsplit(("postgresql", user.partition(":")[0] + at + host, parts.path, urlencode(options), ""))


def default_flow_name(source: Location, destination: Location) -> FlowName:
    """Return the name of the Flow between two places: readable, and different for different places."""
    digest = hashlib.sha256(f"{source.url}\n{destination.url}".encode("utf-8", "surrogateescape")).hexdigest()[:8]
    return FlowName(f"{_short_name(source)}-to-{_short_name(destination)}-{digest}")


def _short_name(location: Location) -> str:
    if location.path is None:
        return unquote(urlsplit(location.url).path).strip("/") or "postgresql"
    return location.path.stem.encode("utf-8", "replace").decode() or "root"
