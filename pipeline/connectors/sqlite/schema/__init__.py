"""Tables, constraints and statements of an SQLite database."""
