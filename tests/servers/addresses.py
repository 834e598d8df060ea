"""Addresses and credentials of the servers for tests."""

from __future__ import annotations

from dataclasses import dataclass

LOOPBACK = "127.0.0.1"
REGION = "us-east-1"


@dataclass(frozen=True, slots=True)
class S3Server:
    """An S3 server; it needs path-style addresses. `process_id` is for tests that kill it."""

    endpoint_url: str
    region: str
    access_key_id: str
    secret_access_key: str
    process_id: int | None = None


@dataclass(frozen=True, slots=True)
class SqsServer:
    """An SQS server. `process_id` is for tests that kill it."""

    endpoint_url: str
    region: str
    access_key_id: str
    secret_access_key: str
    process_id: int | None = None


@dataclass(frozen=True, slots=True)
class S3AndSqs:
    """S3 and SQS, served by one process at one address. They accept any credentials."""

    s3: S3Server
    sqs: SqsServer

    @classmethod
    def at(cls, port: int, process_id: int) -> S3AndSqs:
        """Return both at this port of loopback."""
        url = f"http://{LOOPBACK}:{port}"
        return cls(
            S3Server(url, REGION, "test", "test", process_id),
            SqsServer(url, REGION, "test", "test", process_id),
        )
