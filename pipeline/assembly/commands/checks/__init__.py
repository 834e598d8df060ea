"""`pipeline check`: what is wrong, or may go wrong, before data moves."""
