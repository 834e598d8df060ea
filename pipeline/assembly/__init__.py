"""Settings to ready-made programs: the only place that knows both the engine and the adapters."""
