"""Suites for pytest: what every Exporter and every Importer must do, on any data and under faults."""
