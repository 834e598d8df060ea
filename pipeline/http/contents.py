"""The Binary Files of Flows for downloads: what is known of a Flow's packs is kept for the next download."""

from __future__ import annotations

from collections import OrderedDict

from pipeline.domain.ids import FlowName
from pipeline.engine.storage.binaries import BinaryFiles
from pipeline.ports.object_store import ObjectStore
from pipeline.ports.reporter import SilentReporter

KEPT_FLOWS = 16
"""Flows whose packs are known at the same time. That takes 44 bytes of memory a small content."""


class Contents:
    """The Binary Files of the Flows that were asked for last."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._flows: OrderedDict[FlowName, BinaryFiles] = OrderedDict()

    def of(self, flow: FlowName) -> BinaryFiles:
        """Return the Binary Files of a Flow."""
        if flow not in self._flows:
            self._flows[flow] = BinaryFiles(self._store, flow, SilentReporter())
        self._flows.move_to_end(flow)
        if len(self._flows) > KEPT_FLOWS:
            self._flows.popitem(last=False)
        return self._flows[flow]

    def forget(self, flow: FlowName) -> None:
        """Read the packs of a Flow again: a content is not where it was."""
        self._flows.pop(flow, None)
