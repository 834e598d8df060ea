"""Commands that run workers and keep the store small."""
