"""Altered input of every kind. It must end in a clear error or a correct result."""
