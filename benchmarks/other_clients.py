"""Other S3 clients for the benchmark `binary_files`, used as their documentation shows."""

from __future__ import annotations

import io
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, Protocol

from anyio import CapacityLimiter, to_thread

from tests.servers.addresses import S3Server

AT_ONCE = 16


class Client(Protocol):
    """Stores and reads contents by name."""

    async def put(self, name: str, data: bytes) -> None:
        """Store a small content."""
        ...

    async def put_file(self, name: str, path: Path) -> None:
        """Store the content of a file."""
        ...

    async def end(self) -> None:
        """Make all content durable."""
        ...

    async def get(self, name: str) -> int:
        """Read a content and discard it; return its size."""
        ...


class _Discarding(io.RawIOBase):
    """Counts the bytes written, and discards them."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.count += len(data)
        return len(data)


class TransferManager:
    """boto3's transfer manager, which runs its own threads."""

    def __init__(self, manager: Any, bucket: str) -> None:
        self._manager, self._bucket = manager, bucket
        self._limiter = CapacityLimiter(AT_ONCE)

    async def put(self, name: str, data: bytes) -> None:
        await self._done(lambda: self._manager.upload(io.BytesIO(data), self._bucket, name))

    async def put_file(self, name: str, path: Path) -> None:
        await self._done(lambda: self._manager.upload(str(path), self._bucket, name))

    async def end(self) -> None:
        """Do nothing: contents are durable already."""

    async def get(self, name: str) -> int:
        sink = _Discarding()
        await self._done(lambda: self._manager.download(self._bucket, name, sink))
        return sink.count

    async def _done(self, begin: Callable[[], Any]) -> None:
        await to_thread.run_sync(lambda: begin().result(), limiter=self._limiter)


class S3Fs:
    """s3fs, through its coroutines."""

    def __init__(self, files: Any, bucket: str) -> None:
        self._files, self._bucket = files, bucket

    async def put(self, name: str, data: bytes) -> None:
        await self._files._pipe_file(f"{self._bucket}/{name}", data)

    async def put_file(self, name: str, path: Path) -> None:
        await self._files._put_file(str(path), f"{self._bucket}/{name}")

    async def end(self) -> None:
        """Do nothing: contents are durable already."""

    async def get(self, name: str) -> int:
        path = f"{self._bucket}/{name}"
        if "/large/" not in name:
            return len(await self._files._cat_file(path))
        with NamedTemporaryFile() as file:  # it needs a file that it can truncate
            await self._files._get_file(path, file.name)
            return os.fstat(file.fileno()).st_size


class Obstore:
    """obstore, which wraps Rust's object_store."""

    def __init__(self, module: Any, store: Any) -> None:
        self._module, self._store = module, store

    async def put(self, name: str, data: bytes) -> None:
        await self._module.put_async(self._store, name, data)

    async def put_file(self, name: str, path: Path) -> None:
        await self._module.put_async(self._store, name, path)

    async def end(self) -> None:
        """Do nothing: contents are durable already."""

    async def get(self, name: str) -> int:
        found = await self._module.get_async(self._store, name)
        return sum([len(piece) async for piece in found.stream()])


@asynccontextmanager
async def _open_transfer_manager(
    server: S3Server, bucket: str, boto3: Any, transfer: Any, config: Any
) -> AsyncIterator[TransferManager]:
    client = boto3.client(
        "s3",
        endpoint_url=server.endpoint_url,
        region_name=server.region,
        aws_access_key_id=server.access_key_id,
        aws_secret_access_key=server.secret_access_key,
        config=config.Config(s3={"addressing_style": "path"}, max_pool_connections=AT_ONCE),
    )
    manager = transfer.create_transfer_manager(client, transfer.TransferConfig(max_concurrency=AT_ONCE))
    try:
        yield TransferManager(manager, bucket)
    finally:
        await to_thread.run_sync(manager.shutdown)
        client.close()


@asynccontextmanager
async def _open_s3fs(server: S3Server, bucket: str, s3fs: Any) -> AsyncIterator[S3Fs]:
    files = s3fs.S3FileSystem(
        key=server.access_key_id,
        secret=server.secret_access_key,
        endpoint_url=server.endpoint_url,
        client_kwargs={"region_name": server.region},
        config_kwargs={"s3": {"addressing_style": "path"}, "max_pool_connections": AT_ONCE},
        asynchronous=True,
        skip_instance_cache=True,
    )
    client = await files.set_session()
    try:
        yield S3Fs(files, bucket)
    finally:
        await client.close()


@asynccontextmanager
async def _open_obstore(server: S3Server, bucket: str, obstore: Any, stores: Any) -> AsyncIterator[Obstore]:
    yield Obstore(
        obstore,
        stores.S3Store(
            bucket,
            endpoint=server.endpoint_url,
            region=server.region,
            access_key_id=server.access_key_id,
            secret_access_key=server.secret_access_key,
            virtual_hosted_style_request=False,
            client_options={"allow_http": True},
        ),
    )


OpenClient = Callable[..., AbstractAsyncContextManager[Client]]

ALL: tuple[tuple[str, tuple[str, ...], OpenClient], ...] = (
    ("boto3 transfer manager", ("boto3", "boto3.s3.transfer", "botocore.config"), _open_transfer_manager),
    ("s3fs", ("s3fs",), _open_s3fs),
    ("obstore", ("obstore", "obstore.store"), _open_obstore),
)
