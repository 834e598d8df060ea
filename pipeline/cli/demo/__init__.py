"""The app of `pipeline demo`, and its own judgement of the result."""
