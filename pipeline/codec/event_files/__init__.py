"""Event Files: bytes to headers and records, and back."""
