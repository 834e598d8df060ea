"""Formats: Event Files, File Lists, messages, state. Converts bytes to values and back, without any I/O."""
