"""The two places of a Flow, as a person gives them: their options."""
