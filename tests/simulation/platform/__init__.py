"""The simulated platform: store, queue, clock and processes, what may go wrong in them, and the plan of a seed."""
