"""Notifications: which receivers get events, how often a delivery is tried, and to which addresses it may go."""
