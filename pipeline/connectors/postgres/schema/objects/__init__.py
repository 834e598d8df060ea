"""Schema objects beside tables: views, functions, triggers, sequences and their like."""
