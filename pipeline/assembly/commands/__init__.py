"""One function for each command. The command line calls them, and `import pipeline` offers most of them."""
