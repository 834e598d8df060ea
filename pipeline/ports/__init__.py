"""The interfaces between the engine and its adapters, as Protocols. Contract suites check every adapter."""
