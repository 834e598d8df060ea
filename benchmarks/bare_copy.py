"""The minimum work of a first Movement of the table `item`: rows to lines (arrays of values), zstd, lines, and rows again.

    python bare_copy.py write SOURCE_URI | python bare_copy.py read DESTINATION_URI

Two processes with a pipe between them, which encode and decode lines with the pipeline's own code. Nothing is stored,
hashed, compared or marked, and an interrupted copy cannot be resumed. A Movement's extra time is the cost of these.
"""

from __future__ import annotations

import sys
from io import BufferedReader
from typing import IO

import psycopg

from benchmarks.data import TYPES
from pipeline.codec.event_files.compression import FRAME_BYTES, Compressor, Decoder
from pipeline.connectors.postgres.loading.csv_lines import Lines, Run
from pipeline.connectors.postgres.loading.csv_values import COPY_OPTIONS, Holds, LineColumn
from pipeline.connectors.postgres.reading.copy_out import CopyOut
from pipeline.connectors.postgres.reading.fields import Field, Rows, UpsertLines, copy_statement
from pipeline.connectors.postgres.reading.rows import READ_BYTES, READ_ROWS
from pipeline.connectors.postgres.schema.types import Form
from pipeline.connectors.postgres.session.connection import Connection
from pipeline.connectors.sql.identifiers import quoted
from pipeline.domain.event_file import Encoding

_COPY = f"COPY item FROM STDIN {COPY_OPTIONS}"
_FORMS = {"integer": Form.NUMBER, "real": Form.FLOAT, "text": Form.TEXT}


def write(source: str, to: IO[bytes]) -> None:
    """Write all rows as compressed lines."""
    fields = [Field(name, quoted(name), _FORMS[kind]) for name, kind in TYPES.items()]
    lines, compressor = UpsertLines(fields), Compressor(level=1)
    with Connection.connect(source, autocommit=True) as connection:
        copy = CopyOut(connection)
        copy.start(copy_statement(fields, "(SELECT * FROM item ORDER BY id) AS t"))
        while rows := copy.read(READ_ROWS, READ_BYTES):
            to.write(compressor.add(lines.arrays(Rows(b"".join(rows), [len(row) for row in rows]))))
    to.write(compressor.finish())


def read(source: BufferedReader, destination: str) -> None:
    """Load the rows from compressed lines."""
    lines = Lines(*[[LineColumn(name, Holds.TEXT) for name in names] for names in (TYPES, ["id"])])
    decoder, rest = Decoder(Encoding.ZSTD), b""
    with psycopg.connect(destination) as connection, connection.cursor().copy(_COPY) as copy:
        while data := source.read1(FRAME_BYTES):
            for piece in decoder.feed(data):
                whole, feed, rest = (rest + piece).rpartition(b"\n")
                for run in lines.decode(whole + feed, 1, "the pipe", ignores_keys=True).steps:
                    assert isinstance(run, Run)
                    copy.write(run.data)
    decoder.close()
    assert not rest


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["write", uri]:
            write(uri, sys.stdout.buffer)
        case ["read", uri]:
            with open(0, "rb") as pipe:
                read(pipe, uri)
