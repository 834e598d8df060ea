"""The object store on S3, and on servers that speak its protocol. asyncio only, as aiobotocore is."""
