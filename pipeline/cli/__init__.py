"""The command line. A command parses its arguments, calls one function of `pipeline.assembly.commands` and prints.

Start-up: `main` knows the commands and their summaries from a table, and imports the module of the one that is called.
So a command's module imports what it uses at its head, and `pipeline --help` imports click alone. Only
two imports are within functions: rich, which takes longer than the rest and draws on terminals alone, and what `main`
needs when a command fails.
"""
