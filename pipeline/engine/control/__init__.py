"""What people want of a Movement while it is under way, and what follows: pausing, stopping, fencing, deadlines."""
