"""A whole Movement in one process."""
