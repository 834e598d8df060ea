"""The embedded object store: a directory of the local file system."""
