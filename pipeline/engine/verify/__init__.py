"""A Flow compared with its source, and repaired."""
