"""Event queues: an SQLite file and SQS. Each passes the port's contract suite unchanged."""
