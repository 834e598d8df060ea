"""Bytes to values and back: Event Files, File Lists, messages, state. Pure: nothing here reads, writes or waits."""
