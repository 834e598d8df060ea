"""What delivers notifications."""
