"""Objects in the store: Event Files, Binary Files, packs, snapshot state."""
