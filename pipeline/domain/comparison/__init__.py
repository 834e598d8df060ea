"""Sorted keys and hashes compared: the diff of an export, and the walk of a verification."""
