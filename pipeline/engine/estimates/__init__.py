"""The time that a Movement still takes, estimated from the events that are reported."""
