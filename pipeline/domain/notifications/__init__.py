"""Notifications: who is told of events, how often a delivery is tried, and where one may go."""
