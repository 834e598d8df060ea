"""What is printed: tables, reports, progress, JSON, logs and errors."""
