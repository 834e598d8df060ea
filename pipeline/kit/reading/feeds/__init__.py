"""Streams with a change feed: what is stored of them, and how all of it is read again."""
