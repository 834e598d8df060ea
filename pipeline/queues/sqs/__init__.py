"""The event queue on SQS, and on servers that speak its protocol."""
