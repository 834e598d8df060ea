"""What a PostgreSQL catalog says of tables and types."""
