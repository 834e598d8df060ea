"""The command line: one command a file, thin. Nothing heavy is imported before a command needs it."""
