"""An author's settings and secrets."""
