"""The schema of a stream of files: one row an entry of the tree."""

from __future__ import annotations

from pipeline.domain.errors import ConfigurationError
from pipeline.domain.ids import Label, StreamName
from pipeline.domain.schema import Column, StreamSchema

DEFAULT_STREAM = StreamName("@files")
COLUMNS = (
    Column("path", "text", nullable=False),
    Column("kind", "text", nullable=False),
    Column("size", "integer"),
    Column("mode", "integer", nullable=False),
    Column("mtime_ns", "integer", nullable=False),
    Column("digest", "binary"),  # the type says that the value is the id of a Binary File, the file's content
    Column("target", "text"),
    Column("attributes", "json"),
)
HASHED_COLUMNS = COLUMNS[:-1]
"""The columns that a row's hash names. Attributes came later: the hashes of rows that have none are as before."""
_REQUIRED = frozenset({"path", "kind", "mode", "mtime_ns", "digest", "target"})


def files_schema(stream: StreamName) -> StreamSchema:
    """Return the schema of a stream of files."""
    return StreamSchema(stream, Label(stream), COLUMNS, ("path",))


def check_schema(schema: StreamSchema) -> tuple[str, ...]:
    """Return the columns that a tree cannot hold; ConfigurationError when `schema` is not of a stream of files."""
    if schema.primary_keys != ("path",) or not _REQUIRED.issubset(schema.column_names):
        raise ConfigurationError(
            f"the stream {schema.stream!r} is not a stream of files, so a directory cannot hold it: "
            "name another destination for it, or leave it out with --exclude"
        )
    known = {column.name for column in COLUMNS}
    return tuple(name for name in schema.column_names if name not in known)
