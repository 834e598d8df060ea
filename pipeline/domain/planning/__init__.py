"""What to do with Event Files: import order, folding, retention, overlays."""
