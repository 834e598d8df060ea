"""Opening a database file: read-only, or for writing."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep
from urllib.parse import quote

import apsw

from pipeline.connectors.sqlite.app_code import accept_collations
from pipeline.domain.errors import ConfigurationError, RefusedError, TransientError
from pipeline.paths import exists
from pipeline.sqlite_access import translated, uri_of

BUSY_TIMEOUT_SECONDS = 5.0
"""How long to wait for a lock of another process: longer than an app's own transactions take."""

_FIRST_PAUSE_SECONDS, _PAUSE_SECONDS = 0.0005, 0.004
_CACHE_KIB = 32 * 1024
_READING = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_NOMUTEX
_WRITING = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_NOMUTEX
"""Without SQLite's mutexes, which it takes for each value of a row: they took two fifths of the time of a scan."""
_MAGIC = b"SQLite format 3\x00"

FileIdentity = tuple[int, int, int, int]
"""Device, inode, size and modification time in nanoseconds: changes with every change of a file's content."""


def location_of(path: Path) -> str:
    """Return the database at `path` as a URL, with an absolute path."""
    return f"sqlite:///{quote(os.fsencode(path.absolute()))}"


def open_reader(path: Path, busy_timeout_seconds: float) -> tuple[apsw.Connection, FileIdentity | None]:
    """Open `path` read-only. The file identity is not None when the file must be watched, see below.

    Any thread may use the connection, but never two at once: callers hold a lock of their own.

    A database in WAL mode can only be read where its `-shm` file exists or can be created. In a directory that is not
    writable it is therefore opened as *immutable*, without any lock. That is right only while nobody writes, so it is
    done only when there is no write-ahead log beside the file (all content is in the file itself), and the reader checks
    with `ensure_untouched` after each read that this still holds and the file is the same.
    """
    _require_file(path)
    with translated(location_of(path)):
        connection = _connect(path, "mode=ro", _READING, busy_timeout_seconds)
        try:
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()
        except (apsw.CantOpenError, apsw.ReadOnlyError) as error:
            connection.close()
            if getattr(error, "extendedresult", None) == apsw.SQLITE_READONLY_ROLLBACK:
                raise RefusedError(
                    f"{location_of(path)}: a process ended while it wrote, and its changes are half in the file; let the app "
                    f"open the database, or run `sqlite3 {path.name} .schema`, so that SQLite takes them back from "
                    f"{path.name}-journal, and run the command again"
                ) from error
            identity = _identity_without_log(path)
            if identity is None:
                raise
        except BaseException:
            connection.close()
            raise
        else:
            return connection, None
        return _connect(path, "mode=ro&immutable=1", _READING, busy_timeout_seconds), identity


def ensure_untouched(path: Path, identity: FileIdentity | None) -> None:
    """Raise TransientError when a file that was opened as immutable has been written to."""
    if identity is not None and _identity_without_log(path) != identity:
        raise TransientError(
            f"{location_of(path)}: another process wrote to it while it was read without a lock, because its directory is "
            "not writable; run the command again, or make the directory writable"
        )


def open_destination(path: Path, busy_timeout_seconds: float) -> apsw.Connection:
    """Open `path` for writing; create it if it is missing and its directory exists. RefusedError when it is not writable.

    Any thread may use the connection, but never two at once, as with `open_reader`. Triggers do not fire, since the rows
    that they would change come from the source as well. Foreign keys are not enforced: they
    are checked when all streams are loaded. Functions and virtual tables that an untrusted schema could misuse are off,
    since tables are created from statements in Event Files.
    """
    place = location_of(path)
    require_directory(path)
    if exists(path):
        _require_file(path)
    elif not os.access(path.parent, os.W_OK):
        raise RefusedError(f"{place} cannot be created: the directory is not writable; check its permissions")
    with translated(place):
        connection = _connect(path, "mode=rwc", _WRITING, busy_timeout_seconds)
        try:
            connection.set_busy_handler(_busy_handler(busy_timeout_seconds))
            connection.config(apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, 0)
            connection.execute(
                "PRAGMA foreign_keys=OFF; PRAGMA trusted_schema=OFF; PRAGMA recursive_triggers=OFF;"
                f"PRAGMA cache_size=-{_CACHE_KIB}; PRAGMA synchronous=FULL; BEGIN IMMEDIATE; ROLLBACK"
            ).fetchall()
        except BaseException:
            connection.close(True)
            raise
    return connection


def _busy_handler(seconds: float) -> Callable[[int], bool]:
    """Return the function that SQLite calls while another process holds the lock, to know whether to try again.

    It tries every few milliseconds. SQLite's own time-out soon waits a tenth of a second between tries, during which the
    lock that another importer has released is idle.
    """
    began = monotonic()

    def try_again(tries: int) -> bool:
        nonlocal began
        if tries == 0:
            began = monotonic()
        sleep(min(_FIRST_PAUSE_SECONDS * (tries + 1), _PAUSE_SECONDS))
        return monotonic() - began < seconds

    return try_again


def _connect(path: Path, parameters: str, flags: int, busy_timeout_seconds: float) -> apsw.Connection:
    connection = apsw.Connection(f"{uri_of(path)}?{parameters}", flags=flags | apsw.SQLITE_OPEN_URI)
    try:
        _require_database(connection, path)
    except BaseException:
        connection.close()
        raise
    connection.set_busy_timeout(round(busy_timeout_seconds * 1000))
    accept_collations(connection)
    return connection


def _require_database(connection: apsw.Connection, path: Path) -> None:
    """ConfigurationError unless the file begins as a database does, or is empty, which is an empty database.

    SQLite itself would take a short file for an empty one, and overwrite it. The file is read through SQLite: a process
    that closes a file descriptor loses all its locks on the file, those of other connections included
    (https://sqlite.org/howtocorrupt.html, 2.2); SQLite keeps its descriptors open until that does no harm.
    """
    size = path.stat().st_size
    if size and (size < len(_MAGIC) or connection.read("main", 0, 0, len(_MAGIC))[1] != _MAGIC):
        raise ConfigurationError(f"{location_of(path)} is not an SQLite database; name one")


def require_directory(path: Path) -> None:
    """ConfigurationError unless the directory of a database is there."""
    directory = path.parent
    try:
        if stat.S_ISDIR(directory.stat().st_mode):
            return
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:  # such as a name that is too long for the system
        raise ConfigurationError(
            f"{location_of(path)}: the directory {directory} cannot be read: {error.strerror}; check the path"
        ) from error
    raise ConfigurationError(f"{location_of(path)}: there is no directory {directory}; create it, or check the path")


def _require_file(path: Path) -> None:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ConfigurationError(f"{location_of(path)} is not a file; name an SQLite database file")
        if not os.access(path, os.R_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except FileNotFoundError as error:
        raise ConfigurationError(f"{location_of(path)}: there is no such file; check the path") from error
    except OSError as error:
        raise ConfigurationError(f"{location_of(path)} cannot be read: {error.strerror}; check the path") from error


def _identity_without_log(path: Path) -> FileIdentity | None:
    """Return the file's identity, or None when a write-ahead log or a rollback journal with content is beside it."""
    for suffix in ("-wal", "-journal"):
        beside = path.with_name(path.name + suffix)
        if beside.exists() and beside.stat().st_size > 0:
            return None
    known = path.stat()
    return (known.st_dev, known.st_ino, known.st_size, known.st_mtime_ns)
