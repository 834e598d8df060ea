"""Event queues: an SQLite file, and a fake in memory. Each keeps its port, and passes its contract suite unchanged."""
