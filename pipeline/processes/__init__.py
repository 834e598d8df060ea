"""Processes of ours: how one begins, and how one starts another."""
