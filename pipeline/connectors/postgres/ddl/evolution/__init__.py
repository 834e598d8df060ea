"""How a table at a PostgreSQL destination follows the source's: each module changes one kind of thing."""
