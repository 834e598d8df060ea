"""Object stores: a local directory and an S3 bucket. Each passes the port's contract suite unchanged."""
