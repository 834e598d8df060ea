"""Apps that are reached over HTTP, on either side of a Flow: they are written in any language, and run elsewhere."""
