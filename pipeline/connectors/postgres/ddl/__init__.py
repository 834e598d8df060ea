"""Tables of a PostgreSQL destination: made, changed, finished."""
