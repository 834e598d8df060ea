"""A store, a queue, a clock and processes that are simulated, and what may go wrong in them."""
