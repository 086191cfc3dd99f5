"""The part of RFC 6455 that a test needs, with the standard library only."""

import base64
import os
import socket
import struct
from urllib.parse import urlsplit


class WebSocket:
    """A client's end of a WebSocket that sends and receives text."""

    def __init__(self, url, timeout=10):
        parts = urlsplit(url)
        self.sock = socket.create_connection((parts.hostname, parts.port or 80), timeout)
        key = base64.b64encode(os.urandom(16)).decode()
        path = parts.path + ("?" + parts.query if parts.query else "")
        self.sock.sendall(
            f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        self.file = self.sock.makefile("rb")
        status = self.file.readline().decode()
        if " 101 " not in status:
            raise ConnectionError(status.strip())
        while self.file.readline() not in (b"\r\n", b""):
            pass

    def send(self, text, opcode=1):
        data = text if isinstance(text, bytes) else text.encode()
        mask = os.urandom(4)
        size = len(data)
        if size < 126:
            head = struct.pack("!BB", 0x80 | opcode, 0x80 | size)
        else:
            head = struct.pack("!BBH", 0x80 | opcode, 0x80 | 126, size)
        self.sock.sendall(head + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(data)))

    def receive(self):
        """Returns the next text, or the close code as an int."""
        while True:
            first, second = self.file.read(2)
            size = second & 127
            if size == 126:
                (size,) = struct.unpack("!H", self.file.read(2))
            elif size == 127:
                (size,) = struct.unpack("!Q", self.file.read(8))
            data = self.file.read(size)
            opcode = first & 15
            if opcode == 1:
                return data.decode()
            if opcode == 8:
                return struct.unpack("!H", data[:2])[0]
            if opcode == 9:
                self.send(data, opcode=10)

    def close(self):
        self.file.close()
        self.sock.close()
