"""Commands of the platform over HTTP."""
