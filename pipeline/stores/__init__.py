"""Object stores: a local directory, an S3 bucket, and a fake in memory. Each passes the port's contract suite unchanged."""
