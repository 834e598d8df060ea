"""What to do with Event Files: import order, compaction, retention, overlays."""
