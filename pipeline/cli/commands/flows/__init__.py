"""Commands that create, declare, show and remove Flows."""
