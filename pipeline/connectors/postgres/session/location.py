"""The location of a PostgreSQL database: a URL as libpq reads it, and its one canonical form without secrets.

A password may be in the URL, in `PGPASSWORD`, or in a pass file (`PGPASSFILE`, `passfile=`, `~/.pgpass`). The last two
are better, since `ps` shows command lines. It is never in `url`, in `repr`, or in a message.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from urllib.parse import quote

from psycopg import ProgrammingError, pq
from psycopg.conninfo import conninfo_to_dict

from pipeline.domain.errors import ConfigurationError

SCHEMES = ("postgresql", "postgres")
_DEFAULT_PORT = "5432"


@dataclass(frozen=True, slots=True)
class PostgresLocation:
    """A database. `url` is its canonical URL, complete but for secrets, so that another machine can connect with it.

    `parameters` are for libpq and may hold a password, so `repr` leaves them out.
    """

    url: str
    parameters: Mapping[str, str] = field(repr=False, compare=False)


def parse_location(text: str) -> PostgresLocation:
    """Read a `postgresql://` URL by the rules of libpq, with all of libpq's parameters (`sslmode`, `sslrootcert`, …).

    Missing parts come from libpq's environment variables (`PGHOST`, `PGUSER`, `PGSSLMODE`, …) and defaults.
    ConfigurationError, which does not quote the URL, when libpq cannot read it.
    """
    if not text.startswith(tuple(f"{scheme}://" for scheme in SCHEMES)):
        raise ConfigurationError(
            "A PostgreSQL location begins with postgresql://, for example postgresql://user@host:5432/database."
        )
    try:
        given = {name: str(value) for name, value in conninfo_to_dict(text).items() if value is not None}
    except (ProgrammingError, ValueError):  # its message may quote the password
        raise ConfigurationError(
            "libpq cannot read this PostgreSQL URL. Write postgresql://user@host:5432/database?sslmode=…, use only "
            "libpq's parameters, and percent-encode special characters in each part."
        ) from None
    return PostgresLocation(_url(given), given)


_IN_PLACE = frozenset({"host", "hostaddr", "port", "dbname", "user", "service"})
_SECRET = frozenset({"password", "sslpassword"})


def _url(given: Mapping[str, str]) -> str:
    """Return the URL with libpq's defaults for host, port and database, and without secrets."""
    options = [(name, value) for name, value in sorted(given.items()) if name not in _IN_PLACE | _SECRET]
    user = f"{quote(given['user'], safe='')}@" if given.get("user") else ""
    if "service" in given:
        return f"postgresql://{user}/{_query([('service', given['service']), *options])}"
    known = {**_defaults(), **given}
    database = quote(known.get("dbname") or known.get("user", ""), safe="")
    hosts = (known.get("host") or known.get("hostaddr") or "localhost").split(",")
    ports = (known.get("port") or _DEFAULT_PORT).split(",")
    if len(ports) == 1:
        ports *= len(hosts)
    if any(host.startswith(("/", "@")) for host in hosts):
        port = [] if set(ports) == {_DEFAULT_PORT} else [("port", ",".join(ports))]
        return f"postgresql://{user}/{database}{_query([('host', ','.join(hosts)), *port, *options])}"
    places = [_place(host, port or _DEFAULT_PORT) for host, port in zip_longest(hosts, ports, fillvalue=_DEFAULT_PORT)]
    return f"postgresql://{user}{','.join(places)}/{database}{_query(options)}"


def _query(options: Sequence[tuple[str, str]]) -> str:
    text = "&".join(f"{name}={quote(value, safe='/,')}" for name, value in options)
    return f"?{text}" if text else ""


def _place(host: str, port: str) -> str:
    name = f"[{host}]" if ":" in host else quote(host.lower(), safe="")
    return f"{name}:{quote(port, safe='')}"


def _defaults() -> dict[str, str]:
    """Return the values that libpq takes from the environment, or from its own defaults."""
    options = pq.Conninfo.get_defaults()
    return {option.keyword.decode(): option.val.decode("utf-8", "replace") for option in options if option.val}
