"""The model: ids, records, Movements, lanes, diffs. Standard library only; no I/O, no clock, no await."""
