"""Flows as data: what a file declares, what it would change, and what removing a Flow leaves behind."""
