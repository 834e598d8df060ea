"""The tables that streams are loaded into: created, widened, and what their columns cannot hold."""
