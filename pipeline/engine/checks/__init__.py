"""Checks before a Movement: of streams and their columns, of all rows, and of what became of earlier Movements."""
