"""Tables and types in PostgreSQL's catalog."""
