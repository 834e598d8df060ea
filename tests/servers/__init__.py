"""Real servers for tests, one file each: each runs on free loopback ports, in its own directory."""
