"""The platform over HTTP: an API for operators and apps, a dashboard, and metrics. `pipeline serve` runs it."""
