"""The outbox: each transition of a Movement is one event, stored once."""
