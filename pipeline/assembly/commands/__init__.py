"""One short function a command; the command line and `import pipeline` call them."""
