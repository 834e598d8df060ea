"""One package a technology, each with its source and its destination. None knows another."""
