"""Connectors: one package for each technology, with its source and its destination. None knows another."""
