"""The movement itself: exporter, importer and what settles it, written on anyio against ports only."""
