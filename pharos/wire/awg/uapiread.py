"""Reads requests of the UAPI: an engine's end of the socket."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from typing import Any, Final

from pharos.wire.awg.confkeys import PARAMETER_NAMES
from pharos.wire.awg.endpoint import Address
from pharos.wire.awg.texts import (
    is_ipv4,
    read_endpoint,
    read_hex_key,
    read_keepalive,
    read_network,
    read_number,
    read_port,
)
from pharos.wire.awg.uapi import (
    MAX_FACE,
    MAX_RATE,
    OFF,
    BadRequest,
    DeviceChange,
    FaceChange,
    GetRequest,
    PeerChange,
    Request,
    WatchRequest,
    read_parameter,
)
from pharos.wire.errors import RemoteProtocolError

# The longest value is an I packet of 65,507 bytes, each written as a part of its own.
MAX_LINE_BYTES: Final = 600_000
# Some 65,536 peers of 1 kB; the socket is root's own.
MAX_REQUEST_BYTES: Final = 64 * 1024 * 1024

_OPERATIONS: Final = ("get=1", "set=1", "watch=1")


class UapiReader:
    """Takes the bytes of one connection and gives the requests in them, in order."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._operation = ""
        self._size = 0
        self._change = _Change()

    def receive_data(self, data: bytes) -> list[Request]:
        """Return the requests that are whole now.

        Raises: RemoteProtocolError — no request begins like that, or it is too long: close the connection.
        """
        self._buffer += data
        requests: list[Request] = []
        *lines, rest = self._buffer.split(b"\n")
        self._buffer = rest
        self._size += len(data)
        if self._size > MAX_REQUEST_BYTES or len(rest) > MAX_LINE_BYTES:
            raise RemoteProtocolError("UAPI: the request is too long")
        for line in lines:
            request = self._line(line.decode("ascii", "replace"))
            if request is not None:
                requests.append(request)
                self._size = len(rest)
        return requests

    def _line(self, line: str) -> Request | None:
        if not self._operation:
            if line not in _OPERATIONS:
                raise RemoteProtocolError("UAPI: a request begins with get=1, set=1 or watch=1")
            self._operation = line
            self._change = _Change()
            return None
        if line:
            if self._operation == "set=1":
                self._change.line(line)
            else:
                self._change.refuse(errno.EPROTO, f"{self._operation} takes no keys")
            return None
        operation, self._operation = self._operation, ""
        if self._change.error is not None:
            return self._change.error
        match operation:
            case "get=1":
                return GetRequest()
            case "watch=1":
                return WatchRequest()
            case _:
                return self._change.done()


class _Change:
    """A `set` request as it is gathered; after the first error the rest is passed over."""

    def __init__(self) -> None:
        self.error: BadRequest | None = None
        self._device: dict[str, Any] = {"parameters": {}}
        self._face: dict[str, Any] | None = None
        self._faces: list[FaceChange] = []
        self._peer: dict[str, Any] | None = None
        self._peers: list[PeerChange] = []

    def refuse(self, number: int, reason: str) -> None:
        if self.error is None:
            self.error = BadRequest(number, reason)

    def line(self, line: str) -> None:
        if self.error is not None:
            return
        key, equals, value = line.partition("=")
        if not equals:
            self.refuse(errno.EPROTO, "a line is key=value")
            return
        try:
            if key == "public_key":
                self._end_peer()
                self._peer = {"public_key": read_hex_key(value)}
            elif self._peer is not None:
                self._peer_line(self._peer, key, value)
            elif key == "face":
                self._end_face()
                self._face = {"number": read_number(value, 1, MAX_FACE), "parameters": {}}
            elif key.startswith("face_") and self._face is not None:
                _keep(self._face, key.removeprefix("face_"), value, _FACE)
            else:
                _keep(self._device, key, value, _DEVICE)
        except ValueError as error:
            # The value may be a secret, and an engine's log is for many eyes.
            self.refuse(errno.EINVAL, f"{key[:40]!r}: {error}")

    def done(self) -> DeviceChange:
        self._end_peer()
        self._end_face()
        return DeviceChange(**self._device, faces=tuple(self._faces), peers=tuple(self._peers))

    def _peer_line(self, peer: dict[str, Any], key: str, value: str) -> None:
        if key == "allowed_ip":
            # wg(8) marks with a minus a network that is taken away, and with a plus one that is added.
            field = "removed_ips" if value.startswith("-") else "allowed_ips"
            peer[field] = (*peer.get(field, ()), read_network(value.removeprefix("-").removeprefix("+")))
        elif key == "replace_allowed_ips":
            _only("true", value)
            peer |= {"replace_allowed_ips": True, "allowed_ips": (), "removed_ips": ()}
        elif key == "protocol_version":
            _only("1", value)
        else:
            _keep(peer, key, value, _PEER)

    def _end_peer(self) -> None:
        if self._peer is not None:
            self._peers.append(PeerChange(**self._peer))
        self._peer = None

    def _end_face(self) -> None:
        if self._face is not None:
            self._faces.append(FaceChange(**self._face))
        self._face = None


def _keep(values: dict[str, Any], key: str, text: str, readers: Mapping[str, tuple[str, Callable[[str], Any]]]) -> None:
    if key in PARAMETER_NAMES and "parameters" in values:
        values["parameters"][key] = read_parameter(key, text)
        return
    if key not in readers:
        raise ValueError("no such key here")
    field, read = readers[key]
    values[field] = read(text)


def _only(wanted: str, text: str) -> bool:
    if text != wanted:
        raise ValueError(f"must be {wanted}")
    return True


def _true(text: str) -> bool:
    return _only("true", text)


def _endpoint(text: str) -> Address:
    # An engine asks no resolver: that would block it.
    host, port = read_endpoint(text)
    if ":" not in host and not is_ipv4(host):
        raise ValueError("must be a numeric IP address and a port")
    return host, port


def _rate(text: str) -> int:
    # Twenty digits would be more than any line has.
    if not text.isascii() or not text.isdigit() or len(text) > 16 or int(text) > MAX_RATE:
        raise ValueError(f"must be bytes a second, from 0 to {MAX_RATE}")
    return int(text)


_DEVICE: Final = {
    "private_key": ("private_key", read_hex_key),
    "listen_port": ("listen_port", read_port),
    "fwmark": ("fwmark", read_number),
    "replace_peers": ("replace_peers", _true),
}
_FACE: Final = {"listen_port": ("listen_port", read_port), "remove": ("remove", _true)}
_PEER: Final = {
    "remove": ("remove", _true),
    "update_only": ("update_only", _true),
    "preshared_key": ("preshared_key", read_hex_key),
    "endpoint": ("endpoint", _endpoint),
    "persistent_keepalive_interval": ("persistent_keepalive", lambda text: read_keepalive(text) or OFF),
    "send_rate": ("send_rate", _rate),
    "receive_rate": ("receive_rate", _rate),
}
