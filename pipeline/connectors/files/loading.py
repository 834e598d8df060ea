"""Applying one Event File to a tree.

The records are all read and checked before the first is applied. Then, whatever their order in the file: deletes from
the innermost outwards, directories and links from the outermost inwards, and last the contents of files, a few at a
time. So a kind that changes (a file where a directory was) finds its place free.

Two things may have to wait for a later Event File of the stream, because `a` stands in one and `a/x` in the next: a
directory to be removed that is not empty yet, and a file or link where such a directory stands. They are tried again
at the end of every load, and in the end by `retry_rejected` and `finish`.
"""

from __future__ import annotations

import os
import stat
import uuid
from collections.abc import AsyncIterable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from anyio import to_thread

from pipeline.codec.values import key_text
from pipeline.connectors.files.concurrency import for_each
from pipeline.connectors.files.errors import translated
from pipeline.connectors.files.marks import DirectoryStatus, ImportState
from pipeline.connectors.files.names import from_bytes, shown
from pipeline.connectors.files.records import Plan, SetAside, Unacceptable, Upsert, parse_upsert
from pipeline.connectors.files.target import OWNER_ALL, Obstructed, TargetTree
from pipeline.connectors.files.tree import Kind
from pipeline.domain.ids import EventFileId, StreamName
from pipeline.ports.destination import OpenBinary, Rejection

CONTENTS_AT_ONCE = 4
WRITE_BYTES = 1024 * 1024
