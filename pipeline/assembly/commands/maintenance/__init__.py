"""Keeping the store small: by hand, and by itself after a Movement."""
