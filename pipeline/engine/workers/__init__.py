"""Long-running exporters and importers, and the sweep that sends lost messages again."""
