"""As much of HTTP/2 as a rude client needs: one request on a connection, with headers exactly as given."""

import contextlib
import socket
import ssl
import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RESET, SETTINGS, GOAWAY = 0, 1, 3, 4, 7
END_STREAM, END_HEADERS = 1, 4
STATUS_BY_INDEX = {0x88: 200, 0x89: 204, 0x8A: 206, 0x8B: 304, 0x8C: 400, 0x8D: 404, 0x8E: 500}
"""Of HPACK's static table (RFC 7541, appendix A)."""


def ask(connection: socket.socket, headers: list[tuple[str, str]], body: bytes = b"") -> tuple[int, bytes]:
    """The status and body of the answer; status 0 where the stream or the connection is reset instead."""
    whole = END_HEADERS | (0 if body else END_STREAM)
    sent = PREFACE + _frame(SETTINGS) + _frame(HEADERS, whole, b"".join(_literal(*one) for one in headers))
    if body:
        sent += _frame(DATA, END_STREAM, body)
    with contextlib.suppress(OSError):
        connection.sendall(sent)
    status, answered = 0, b""
    with contextlib.suppress(ConnectionResetError, ssl.SSLEOFError):
        while head := _exactly(connection, 9):
            length, kind, flags, stream = *struct.unpack(">I", b"\0" + head[:3]), head[3], head[4], head[8]
            payload = _exactly(connection, length)
            if kind in (RESET, GOAWAY):
                return 0, b""
            if stream == 1 and kind == HEADERS:
                status = _status(payload)
            elif stream == 1 and kind == DATA:
                answered += payload
            if stream == 1 and flags & END_STREAM:
                return status, answered
    return 0, b""


def _frame(kind: int, flags: int = 0, payload: bytes = b"") -> bytes:
    stream = 0 if kind == SETTINGS else 1
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def _literal(name: str, value: str) -> bytes:
    return b"\0" + _text(name.encode("latin-1")) + _text(value.encode("latin-1"))


def _text(text: bytes) -> bytes:
    """Without Huffman's code; its length is an integer behind seven bits (RFC 7541 §5.1)."""
    if len(text) < 127:
        return bytes([len(text)]) + text
    rest, length = len(text) - 127, b"\x7f"
    while rest >= 128:
        length += bytes([rest % 128 + 128])
        rest //= 128
    return length + bytes([rest]) + text


def _status(block: bytes) -> int:
    """The status comes first in what nginx sends: by its index, or by its digits."""
    block = block.lstrip(b"\x20")  # a change of the size of a table that we do not have
    return STATUS_BY_INDEX.get(block[0]) or int(block[2:5])


def _exactly(connection: socket.socket, length: int) -> bytes:
    found = b""
    while len(found) < length:
        part = connection.recv(length - len(found))
        if not part:
            return b""
        found += part
    return found
