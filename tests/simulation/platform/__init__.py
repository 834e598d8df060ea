"""What belongs to the simulated platform of the engine alone: the plan of a seed, and the order of tasks on trio."""
