"""Commands about Movements under way, and about those that have settled."""
