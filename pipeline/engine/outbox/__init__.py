"""The outbox in the bucket: what happened in a Flow, one object for each event."""
