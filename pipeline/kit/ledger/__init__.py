"""What a Flow keeps in the object store for an app that keeps nothing itself: marks, the id map, rejected records."""
