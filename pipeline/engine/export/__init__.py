"""Source to store: the diff of each stream, cut into Event Files and listed by group."""
