"""HTTP and WebSockets by hand, so that they can be wrong in any way."""

import base64
import contextlib
import os
import socket
import struct
from collections.abc import Iterator, Sequence

KEY = ""
"""An API key that every request shows; none if it is empty."""
SOURCE = ""
"""The address that connections come from; the usual one if it is empty."""
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


@contextlib.contextmanager
def connection(port: int, unread: int | None = None) -> Iterator[socket.socket]:
    """A TCP connection; unread: bytes that the system keeps here of what is not read."""
    client = socket.socket()
    if unread is not None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, unread)
    client.settimeout(30)
    try:
        if SOURCE:
            client.bind((SOURCE, 0))
        client.connect(("127.0.0.1", port))
        yield client
    finally:
        client.close()


def reset(client: socket.socket) -> None:
    """Ends a connection with RST, as a process does that is killed with something unread."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def request(
    method: str = "GET", path: str = "/health", body: bytes | None = None, **headers: str
) -> bytes:
    """A request; underscores in names of headers stand for hyphens."""
    fields = {"host": "localhost", "connection": "close"} | headers
    if KEY:
        fields.setdefault("x_api_key", KEY)
    if body is not None:
        fields.setdefault("content_length", str(len(body)))
    lines = [f"{method} {path} HTTP/1.1"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + (body or b"")


def form(
    fields: Sequence[tuple[str, str | bytes]], files: Sequence[tuple[str, bytes]] = ()
) -> bytes:
    """The body of a form with the boundary EDGE."""
    out = []
    for name, value in fields:
        data = value if isinstance(value, bytes) else value.encode()
        out.append(
            f'--EDGE\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode() + data
        )
    for name, data in files:
        head = f'Content-Disposition: form-data; name="{name}"; filename="{name}"'
        out.append(f"--EDGE\r\n{head}\r\n\r\n".encode() + data)
    return b"\r\n".join([*out, b"--EDGE--\r\n"])


def upload(body: bytes, **headers: str) -> bytes:
    """A request to transcribe what is in a form."""
    kind = {"content_type": "multipart/form-data; boundary=EDGE"}
    return request("POST", "/v1/audio/transcriptions", body, **kind | headers)


def everything(client: socket.socket, seconds: float = 30) -> bytes:
    """Reads until the other side closes or is silent for `seconds`."""
    client.settimeout(seconds)
    got = b""
    with contextlib.suppress(OSError):
        while data := client.recv(1 << 16):
            got += data
    return got


def exchange(port: int, data: bytes, seconds: float = 30) -> bytes:
    """Sends all of it, as far as it is taken, and returns what comes back."""
    with connection(port) as client:
        with contextlib.suppress(OSError):
            client.sendall(data)
        return everything(client, seconds)


def answer(port: int, data: bytes, seconds: float = 30) -> bytes:
    """Sends all of it, as far as it is taken, and returns the first response."""
    with connection(port) as client:
        client.settimeout(seconds)
        with contextlib.suppress(OSError):
            client.sendall(data)
        got, size = b"", 1 << 62
        with contextlib.suppress(OSError):
            while len(got) < size and (more := client.recv(1 << 16)):
                got += more
                head, end, _ = got.partition(b"\r\n\r\n")
                length = head.lower().partition(b"\r\ncontent-length: ")[2].partition(b"\r\n")[0]
                if end and status(head) == 101:
                    break
                if end and length:
                    size = len(head) + 4 + int(length)
        return got


def status(answer: bytes) -> int:
    """The status of the first response; 0 for none."""
    return int(answer[9:12]) if answer.startswith(b"HTTP/1.1 ") else 0


def read_to(client: socket.socket, end: bytes) -> bytes:
    """Reads up to a separator."""
    got = bytearray()
    while end not in got[-100_000:]:
        data = client.recv(1 << 16)
        assert data, f"it was closed: {bytes(got[-300:])!r}"
        got += data
    return bytes(got)


# -- sockets


def handshake(path: str = "/ws", **headers: str) -> bytes:
    """The upgrade request of a WebSocket."""
    fields = {
        "connection": "Upgrade", "upgrade": "websocket", "sec_websocket_version": "13",
        "sec_websocket_key": base64.b64encode(os.urandom(16)).decode(),
    }  # fmt: skip
    return request("GET", path, **fields | headers)


@contextlib.contextmanager
def opened(
    port: int, path: str = "/ws", unread: int | None = None, key: str | None = None
) -> Iterator[socket.socket]:
    """A WebSocket that has been opened, and what it is then sent is up to you."""
    with connection(port, unread) as client:
        client.sendall(handshake(path, **({"x_api_key": key} if key else {})))
        head = b""
        while b"\r\n\r\n" not in head:
            data = client.recv(1)
            assert data, f"the socket was not opened: {head!r}"
            head += data
        assert status(head) == 101, head
        yield client


def frame(
    opcode: int, data: bytes = b"", *, fin: bool = True, mask: bool = True, flags: int = 0
) -> bytes:
    """A frame (RFC 6455, 5.2), masked by zeros; flags: the reserved bits."""
    size = len(data)
    first = bytes([fin << 7 | flags << 4 | opcode])
    if size < 126:
        head = bytes([mask << 7 | size])
    elif size < 1 << 16:
        head = bytes([mask << 7 | 126]) + struct.pack(">H", size)
    else:
        head = bytes([mask << 7 | 127]) + struct.pack(">Q", size)
    return first + head + bytes(4 * mask) + data


def to_close(client: socket.socket, seconds: float = 30) -> bytes:
    """Reads what a server sends up to its close frame, or everything if there is none."""
    client.settimeout(seconds)
    got = b""
    with contextlib.suppress(OSError):
        while close_code(got) is None and (data := client.recv(1 << 16)):
            got += data
    return got


def close_code(got: bytes) -> int | None:
    """The code of the close frame that ends what a server has sent."""
    at, code = 0, None
    while at + 2 <= len(got):
        opcode, size = got[at] & 15, got[at + 1] & 127
        at += 2
        if size > 125:
            width = 2 if size == 126 else 8
            size = int.from_bytes(got[at : at + width], "big")
            at += width
        if opcode == CLOSE and size >= 2:
            code = int.from_bytes(got[at : at + 2], "big")
        at += size
    return code
