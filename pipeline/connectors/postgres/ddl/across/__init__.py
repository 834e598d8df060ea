"""Tables of a PostgreSQL destination for streams of other technologies."""
