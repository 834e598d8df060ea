"""The floor beneath what speaks to AWS, or to a server like it: clients, one table of errors, one layer of retries.

Everything here is asyncio only, as aiobotocore is.
"""
