"""Tests for authors of Exporters and Importers: suites for pytest, an app in memory, and faults by seed."""
