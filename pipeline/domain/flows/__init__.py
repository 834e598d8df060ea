"""What a person declares of a Flow, beside its two places."""
