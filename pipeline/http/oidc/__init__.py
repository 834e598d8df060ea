"""Logging in with OpenID Connect."""
