"""The worlds, and what happens in them: `pipeline move` again and again, or a fleet of workers."""
