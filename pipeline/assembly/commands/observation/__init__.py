"""Commands that look at all Flows at once, for people and for metrics."""
