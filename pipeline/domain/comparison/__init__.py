"""Comparison of rows by sorted keys and hashes: the diff of an export, and the walk of a verification."""
