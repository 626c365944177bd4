"""Typed messages between two hosts. Each is JSON, and is authenticated by the secret of the job.

1. The server sends a random number. The client answers with one of its own, and proves by an HMAC over both that it has
   the secret; then the server proves the same. So a stranger who connects learns nothing that depends on the secret.
2. Both derive a key for this connection from the secret and the two numbers. Every message carries an HMAC over its
   direction, its number and its content: no message can be made up, changed, repeated, left out or sent back.

HMAC is that of RFC 2104 with SHA-256. Nothing is hidden from who listens to the network, and nothing received is ever
executed or unpickled: it is decoded to the types of `messages`.
"""

import contextlib
import hashlib
import hmac
import secrets
import socket
import struct
import threading
import time
from typing import Generic, TypeVar

import msgspec

Message = TypeVar("Message")

GREETING = b"ddpbench 1\n"
NONCE_BYTES = MAC_BYTES = 32
MOST_BYTES = 16 * 2**20  # of one message
HANDSHAKE_S = 10.0
SEND_S = 10.0  # a host that takes no more for so long is lost


class SecretError(ConnectionError):
    """The other side has another secret, or is no program of ours."""


class Channel(Generic[Message]):
    """One end of a connection. Any thread may send; one thread receives."""

    def __init__(self, connection: socket.socket, key: bytes, kind: object, *, is_server: bool) -> None:
        self._connection, self._key = connection, key
        self._decoder: msgspec.json.Decoder[Message] = msgspec.json.Decoder(kind)
        self._sends, self._receives = (b"s", b"c") if is_server else (b"c", b"s")
        self._sent = self._received = 0
        self._lock = threading.Lock()

    @property
    def peer(self) -> str:
        """The address of the other host; "" once it is gone."""
        try:
            return str(self._connection.getpeername()[0])
        except OSError:
            return ""

    def send(self, message: object) -> None:
        """Send a message. Raises OSError where the connection is broken, or the other side takes no more."""
        content = msgspec.json.encode(message)
        with self._lock:
            mac = self._mac(self._sends, self._sent, content)
            self._sent += 1
            self._connection.sendall(struct.pack(">I", len(content)) + mac + content)

    def receive(self) -> Message:
        """Wait for the next message. Raises OSError where the connection has ended, or what came is not authentic."""
        (size,) = struct.unpack(">I", self._read(4))
        if size > MOST_BYTES:
            raise SecretError("what came is too long for a message")
        mac, content = self._read(MAC_BYTES), self._read(size)
        if not hmac.compare_digest(mac, self._mac(self._receives, self._received, content)):
            raise SecretError("what came was not sent by this job")
        self._received += 1
        try:
            return self._decoder.decode(content)
        except msgspec.DecodeError as problem:
            raise SecretError(f"what came is no message: {problem}") from problem

    def close(self) -> None:
        """End the connection. A thread that waits for a message gets OSError."""
        with contextlib.suppress(OSError):  # it has ended already
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()

    def _mac(self, direction: bytes, number: int, content: bytes) -> bytes:
        return _hmac(self._key, direction + struct.pack(">Q", number) + content)

    def _read(self, size: int) -> bytes:
        return read(self._connection, size)


def read(connection: socket.socket, size: int, until_s: float | None = None) -> bytes:
    """Return the next `size` bytes. Raises ConnectionError where the connection ends before.

    `until_s`, by the monotonic clock: TimeoutError where they are not all here by then. None: no limit.
    """
    content = b""
    while len(content) < size:
        if until_s is not None:  # a socket's own limit begins anew with every byte
            connection.settimeout(max(0.001, until_s - time.monotonic()))
        some = connection.recv(min(size - len(content), 2**16))
        if not some:
            raise ConnectionResetError("the connection has ended")
        content += some
    return content


def accept(connection: socket.socket, secret: bytes, kind: object) -> "Channel[Message]":
    """Be the server of a connection for messages of one kind. Raises OSError unless the client proves itself."""
    until_s = time.monotonic() + HANDSHAKE_S
    connection.settimeout(HANDSHAKE_S)
    ours = secrets.token_bytes(NONCE_BYTES)
    connection.sendall(GREETING + ours)
    theirs, proof = read(connection, NONCE_BYTES, until_s), read(connection, MAC_BYTES, until_s)
    if not hmac.compare_digest(proof, _hmac(secret, b"client" + ours + theirs)):
        raise SecretError("another secret")
    connection.sendall(_hmac(secret, b"server" + ours + theirs))
    return _channel(connection, _hmac(secret, b"key" + ours + theirs), kind, is_server=True)


def connect(address: str, port: int, secret: bytes, kind: object, timeout_s: float) -> "Channel[Message]":
    """Be the client of a new connection. Raises SecretError where the server has another secret, else OSError."""
    connection = socket.create_connection((address, port), timeout=timeout_s)
    try:
        until_s = time.monotonic() + HANDSHAKE_S
        greeting = read(connection, len(GREETING), until_s)
        if greeting != GREETING:
            raise SecretError("another program, or another version of this one, answers there")
        theirs, ours = read(connection, NONCE_BYTES, until_s), secrets.token_bytes(NONCE_BYTES)
        connection.sendall(ours + _hmac(secret, b"client" + theirs + ours))
        try:
            proof = read(connection, MAC_BYTES, until_s)
        except ConnectionResetError as problem:
            raise SecretError("it was refused there: DDPBENCH_SECRET is not the same on both hosts") from problem
        if not hmac.compare_digest(proof, _hmac(secret, b"server" + theirs + ours)):
            raise SecretError("what answers there does not know DDPBENCH_SECRET")
    except BaseException:
        connection.close()
        raise
    return _channel(connection, _hmac(secret, b"key" + theirs + ours), kind, is_server=False)


def _channel(connection: socket.socket, key: bytes, kind: object, *, is_server: bool) -> "Channel[Message]":
    connection.settimeout(None)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", int(SEND_S), 0))
    return Channel(connection, key, kind, is_server=is_server)


def _hmac(key: bytes, content: bytes) -> bytes:
    return hmac.new(key, content, hashlib.sha256).digest()
