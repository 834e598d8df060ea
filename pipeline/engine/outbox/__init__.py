"""The outbox in the bucket: what happened in a Flow, an object an event."""
