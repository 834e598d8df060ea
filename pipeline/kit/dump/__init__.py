"""What an Importer's app holds, as its `dump` gives it, and a new, empty app for tests."""
