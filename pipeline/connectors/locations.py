"""Locations: what a person writes for a place becomes one URL, the name of that place."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from pipeline.domain.errors import ConfigurationError
from pipeline.domain.ids import FlowName, encode_name

_BETWEEN = " + "
"""Between the URLs of a place with several parts, such as a database and its files. No URL holds a space."""


@dataclass(frozen=True, slots=True)
class Location:
    """A place. `url` is its one name, however it was written, and holds no secret. `scheme` finds its connector.

    `path` is absolute, and None for a place that is not a path. `written` is for the connector: it may hold a password.
    `short_name` is part of the name of a Flow, if the URL gives no short one.
    """

    scheme: str
    url: str
    path: Path | None = None
    written: str = field(default="", repr=False)
    short_name: str = ""


def join_urls(urls: Iterable[str]) -> str:
    """Return the one name of a place that has several parts."""
    return _BETWEEN.join(urls)


def split_urls(name: str) -> Sequence[str]:
    """Return the URLs of the parts of a place."""
    return name.split(_BETWEEN)


def path_location(scheme: str, path: Path) -> Location:
    """Return the location of a path."""
    path = path.absolute()
    return Location(scheme, f"{scheme}:///{quote(str(path), safe='/', errors='surrogateescape')}", path)


def read_path_url(scheme: str, url: str, *, may_be_relative: bool) -> Location:
    """Read `scheme:///path`. If the path may be relative, an absolute one is written with four slashes."""
    parts = split_url(url)
    if parts.netloc or parts.query or parts.fragment:
        raise ConfigurationError(
            f"{url[:200]!r} is not a location on this computer. Write {scheme}:///path, with three slashes, and "
            "percent-encode a ? or # in the path."
        )
    path = unquote(parts.path, errors="surrogateescape")
    if may_be_relative:
        path = path[1:]
    if not path or "\0" in path:
        raise ConfigurationError(f"{url[:200]!r} has no path.")
    if not may_be_relative:
        path = "/" + path.lstrip("/")  # the canonical URL begins with file:////, and must be read as the same place
    return path_location(scheme, Path(path))


def read_server_url(scheme: str, url: str) -> Location:
    """Read `scheme://user:password@host/name?option=value`. Passwords are left out of the location's `url`."""
    parts = split_url(url)
    user, at, host = parts.netloc.rpartition("@")
    options = [(name, value) for name, value in parse_qsl(parts.query) if name not in ("password", "sslpassword")]
    texts = (parts.path, *(name for name, _ in options))
    if parts.fragment or any("@" in text for text in texts) or not _is_encodable(url):
        raise _not_a_url()  # a password may be in a place where it would not be recognised
    name = urlunsplit((scheme, user.partition(":")[0] + at + host, parts.path, urlencode(options), ""))
    return Location(scheme, name, written=url)


def split_url(url: str) -> SplitResult:
    """Return the parts of a URL. ConfigurationError, which quotes nothing of it, when it is not one."""
    try:
        return urlsplit(url)
    except ValueError:
        raise _not_a_url() from None


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _not_a_url() -> ConfigurationError:
    return ConfigurationError(
        "A location is not a valid URL: it has brackets, an @ or other characters in the wrong place. Write "
        "postgresql://user@host:5432/database, an IPv6 address as [::1], and percent-encode special characters."
    )


_MAX_ENCODED_NAME = 600
"""A longer name of a Flow leaves little room for those of streams in an object key."""


def default_flow_name(source: Location, destination: Location) -> FlowName:
    """Return the name of the Flow between two places: readable, and different for different places."""
    digest = hashlib.sha256(f"{source.url}\n{destination.url}".encode("utf-8", "surrogateescape")).hexdigest()[:8]
    name = f"{_short_name(source)}-to-{_short_name(destination)}-{digest}"
    return FlowName(name if len(encode_name(name)) <= _MAX_ENCODED_NAME else f"{_short_name(source)[:20]}-{digest}")


def _short_name(location: Location) -> str:
    if location.short_name:
        return location.short_name
    if location.path is not None:
        return location.path.stem.encode("utf-8", "replace").decode() or "root"
    path = location.url.partition("://")[2].partition("?")[0].partition("/")[2]
    return unquote(path).strip("/") or location.scheme
