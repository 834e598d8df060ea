"""Flows and Movements in the bucket: read, changed by compare-and-set, settled."""
