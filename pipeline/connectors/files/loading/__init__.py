"""A directory tree as a destination."""
