"""The files connector: a directory tree as a stream, contents as Binary Files."""

from pipeline.connectors.files.loading.destination import FilesDestination
from pipeline.connectors.files.reading.source import FilesSource

__all__ = ["FilesDestination", "FilesSource"]
