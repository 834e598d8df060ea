"""What comes from outside, altered in every way: a clear error or a correct result, and nothing else."""
