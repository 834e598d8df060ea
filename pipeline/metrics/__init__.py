"""Metrics: their names, how they are counted at the ports, and the registry of a process (docs/reference/metrics.md)."""
