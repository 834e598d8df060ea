"""Clients, errors and retries for AWS and servers with its protocols. asyncio only, as aiobotocore is."""
