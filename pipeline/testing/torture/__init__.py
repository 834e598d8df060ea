"""Torture: an author's functions run under faults that a seed decides, and the result is compared with what it must be."""
