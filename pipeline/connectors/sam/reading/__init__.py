"""Reading an export: its files in order, merged on disk to the rows that they amount to."""
