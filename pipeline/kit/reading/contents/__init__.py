"""The contents of Binary fields, and which of them have been read before."""
