"""Writing an export: a file for each Event File, and the listing, which names what is complete."""
