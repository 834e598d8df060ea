"""The routes for apps, each of which stands on one side of one Flow."""
