"""Commands that read and compare."""
