"""What commands print: text, JSON, progress, logs, errors."""
