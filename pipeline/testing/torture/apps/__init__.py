"""Apps in memory that stand for the other end: rows that fit an Importer, and a destination that takes any."""
