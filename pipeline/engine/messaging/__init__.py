"""Messages of the queue: received, leased, handled, given back."""
