"""Locations, connections and errors of PostgreSQL."""
