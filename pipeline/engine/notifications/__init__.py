"""The notifier: delivers events of the outbox to endpoints. No other part of the engine sends anything to a receiver."""
