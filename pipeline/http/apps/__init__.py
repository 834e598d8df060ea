"""The routes for apps, each of which is one side of one Flow."""
