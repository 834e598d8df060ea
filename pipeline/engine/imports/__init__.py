"""Store to destination: the Event Files of a group, loaded in order."""
