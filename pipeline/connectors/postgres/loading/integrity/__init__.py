"""What else would change or stand in the way while rows are loaded: triggers, rules, foreign keys, unique values."""
