"""Real servers for tests, one file each: started on free loopback ports in a directory of their own, and ended again."""
