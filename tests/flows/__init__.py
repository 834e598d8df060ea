"""Flows as data, checks and approvals."""
