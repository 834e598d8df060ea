"""The JSON documents of the bucket and the messages of the queue."""
