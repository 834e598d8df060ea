"""The app of `pipeline demo`, and its own check of the result."""
