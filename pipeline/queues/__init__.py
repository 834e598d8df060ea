"""Event queues: an SQLite file, SQS, and a fake in memory. Each passes the port's contract suite unchanged."""
