"""Long-running exporters and importers, and the sweep that rings again."""
