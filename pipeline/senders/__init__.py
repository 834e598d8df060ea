"""Adapters that send notifications: webhooks, SQS and SNS."""
