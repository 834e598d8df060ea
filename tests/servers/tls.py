"""A TLS proxy for PostgreSQL, because the packaged server is built without TLS.

A client sends an SSLRequest, gets a yes, and performs the handshake; the proxy then forwards its messages in the clear
(https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-SSL). So the client's side of TLS is real.
"""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

_SSL_REQUEST = struct.pack("!ii", 8, 80877103)
_LOOK_SECONDS = 0.1


@dataclass
class TlsFront:
    """It listens on `port` of 127.0.0.1. `spoken` holds the TLS version of each connection, `""` for none."""

    port: int
    spoken: list[str] = field(default_factory=list)


@contextmanager
def tls_front(context: ssl.SSLContext | None, server_socket: str) -> Iterator[TlsFront]:
    """Run a proxy to the server on a Unix socket; without a context it refuses TLS. It ends after its clients."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(_LOOK_SECONDS)
        front = TlsFront(listener.getsockname()[1])
        over = threading.Event()
        threads: list[threading.Thread] = []

        def serve() -> None:
            while not over.is_set():
                with suppress(TimeoutError):
                    client, _ = listener.accept()
                    threads.append(threading.Thread(target=_serve_one, args=(client, context, server_socket, front)))
                    threads[-1].start()

        serving = threading.Thread(target=serve)
        serving.start()
        try:
            yield front
        finally:
            over.set()
            serving.join()
            for thread in threads:
                thread.join()


def _serve_one(client: socket.socket, context: ssl.SSLContext | None, server_socket: str, front: TlsFront) -> None:
    with client, socket.socket(socket.AF_UNIX) as server, suppress(OSError):  # a refused handshake ends the connection
        server.connect(server_socket)
        first = client.recv(len(_SSL_REQUEST), socket.MSG_WAITALL)
        if first == _SSL_REQUEST and context is None:
            client.sendall(b"N")
            first = client.recv(len(_SSL_REQUEST), socket.MSG_WAITALL)
        if first != _SSL_REQUEST or context is None:
            front.spoken.append("")
            server.sendall(first)
            _relay(client, server)
            return
        client.sendall(b"S")
        with context.wrap_socket(client, server_side=True) as secured:
            front.spoken.append(secured.version() or "")
            _relay(secured, server)


def _relay(client: socket.socket, server: socket.socket) -> None:
    """Forward both directions until one side closes."""
    back = threading.Thread(target=_pump, args=(server, client))
    back.start()
    _pump(client, server)
    back.join()


def _pump(one: socket.socket, other: socket.socket) -> None:
    with suppress(OSError):
        while data := one.recv(1 << 16):
            other.sendall(data)
    with suppress(OSError):
        other.shutdown(socket.SHUT_RDWR)
