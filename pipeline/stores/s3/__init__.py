"""The object store on S3, or on a server with S3's protocol. asyncio only, as aiobotocore is."""
