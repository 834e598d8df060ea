"""The lifecycle of a Movement: statuses, wishes, and the table that makes one of the other."""
