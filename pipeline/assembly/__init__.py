"""Commands, ready to call: the only package that knows both the engine and the adapters."""
