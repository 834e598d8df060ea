"""Commands that create Flows and move data."""
