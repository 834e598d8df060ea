"""Tables of a PostgreSQL destination: created, changed, and completed after the load."""
