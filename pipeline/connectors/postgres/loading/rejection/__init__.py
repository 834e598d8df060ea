"""Records that PostgreSQL rejects: why, and which of many it is."""
