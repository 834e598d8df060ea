"""What was read for one answer, and is kept for the next: contents of packs, counts of File Lists, marks."""
