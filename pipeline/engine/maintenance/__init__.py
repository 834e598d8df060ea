"""The store kept small: compaction and pruning."""
