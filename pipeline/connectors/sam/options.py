"""Options of a place in the SAM dialect: what the format does not say, each with its default. docs/reference/sam.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlencode

from pipeline.connectors.locations import Location, split_url
from pipeline.domain.errors import ConfigurationError

SCHEME = "sam"
_BUCKET = "s3://"
_KEY_OF = "key."
_CHOICES = {
    "order": ("sequence", "listing"),
    "unlisted": ("name", "read"),
    "gaps": ("refuse", "accept"),
    "table": ("header", "name"),
    "snapshot": ("add", "replace"),
}
"""Options with a choice of values; the first is the default."""
_COLUMNS = {"deleted": "DELETED", "sequence": "TXN_SEQUENCE", "binary": "fileId"}
"""Options that name a column, with their defaults. Empty: there is no such column."""
_TEXTS = {"key": "", "listing": "", "label": "DATABASE"}


@dataclass(frozen=True, slots=True)
class SamOptions:
    """How an export is read or written. `texts` has a value for each option; `keys` has the key columns by table."""

    texts: Mapping[str, str] = field(default_factory=dict)
    keys: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __getitem__(self, name: str) -> str:
        """Return the value of an option, or its default."""
        if name in self.texts:
            return self.texts[name]
        return _CHOICES[name][0] if name in _CHOICES else {**_COLUMNS, **_TEXTS}[name]

    @property
    def marks(self) -> Mapping[str, str]:
        """The columns that mark deletes and the order of changes, by their options; empty if there is none."""
        return {name: self[name] for name in ("deleted", "sequence")}

    @property
    def default_key(self) -> tuple[str, ...]:
        """The key columns of tables that state none; empty if they are not given."""
        return _columns(self["key"])


@dataclass(frozen=True, slots=True)
class SamPlace:
    """A directory, or a bucket and a prefix in it, with its options."""

    location: str
    options: SamOptions
    path: Path | None
    bucket: str = ""
    prefix: str = ""


def read_location(url: str) -> Location:
    """Read `sam:DIRECTORY`, `sam:///directory` or `sam:s3://bucket/prefix`, each with options as `?name=value`."""
    where, query = _split(url)
    options = urlencode(sorted(_read_query(query)), quote_via=quote)
    query = f"?{options}" if options else ""
    if where.startswith(_BUCKET):
        name = where.removeprefix(_BUCKET).strip("/")
        if not name.partition("/")[0] or "@" in name:
            raise ConfigurationError("sam:s3:// needs a bucket, without a user. Write sam:s3://bucket/prefix.")
        return Location(
            SCHEME, f"{SCHEME}:{_BUCKET}{name}{query}", written=url, short_name=name.rstrip("/").rpartition("/")[2]
        )
    path = Path(unquote(where, errors="surrogateescape")).absolute()
    written = f"{SCHEME}://{quote(str(path), safe='/', errors='surrogateescape')}{query}"
    return Location(SCHEME, written, path, written=url)


def read_place(location: Location) -> SamPlace:
    """Return the place that a location names. ConfigurationError names every option that is wrong."""
    where, query = _split(location.url)
    options = _read_options(_read_query(query))
    bucket, _, prefix = where.removeprefix(_BUCKET).partition("/")
    if location.path is not None:
        return SamPlace(location.url, options, location.path)
    return SamPlace(location.url, options, None, bucket, prefix)


def with_settings(url: str, settings: Mapping[str, str]) -> str:
    """Return the URL of a place with more options."""
    if not settings:
        return url
    return f"{url}{'&' if '?' in url else '?'}{urlencode(settings, quote_via=quote)}"


def _split(url: str) -> tuple[str, str]:
    split_url(url)
    where, _, query = url.removeprefix(f"{SCHEME}:").partition("?")
    if where.startswith("//"):
        where = "/" + where.lstrip("/")
    if not where or "\0" in unquote(where):
        raise ConfigurationError(
            "sam: names no export. Write sam:DIRECTORY or sam:s3://bucket/prefix; percent-encode a ? in a path."
        )
    return where, query


def _read_query(query: str) -> list[tuple[str, str]]:
    return parse_qsl(query, keep_blank_values=True)


def _read_options(given: list[tuple[str, str]]) -> SamOptions:
    texts: dict[str, str] = {}
    keys: dict[str, tuple[str, ...]] = {}
    wrong = []
    for name, value in given:
        if name.startswith(_KEY_OF) and _columns(value):
            keys[name.removeprefix(_KEY_OF)] = _columns(value)
        elif (name in _CHOICES and value in _CHOICES[name]) or name in _COLUMNS or name in _TEXTS:
            texts[name] = value
        elif name in _CHOICES:
            wrong.append(f"{name}={value[:40]} is not one of {', '.join(_CHOICES[name])}")
        else:
            wrong.append(f"there is no option {name[:40]!r}")
    if wrong:
        known = ", ".join(sorted((*_CHOICES, *_COLUMNS, *_TEXTS, "key.TABLE")))
        raise ConfigurationError(f"sam: {'; '.join(wrong)}. The options are: {known}.")
    return SamOptions(texts, keys)


def _columns(text: str) -> tuple[str, ...]:
    return tuple(name for name in text.split(",") if name)
