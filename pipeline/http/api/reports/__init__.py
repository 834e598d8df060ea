"""What operators read beside Flows and Movements: the log, the id map, and endpoints of notifications."""
