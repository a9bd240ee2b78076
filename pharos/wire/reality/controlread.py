"""Reads the requests of a node's control socket."""

from __future__ import annotations

import errno
import ipaddress
import re
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network
from typing import Any, Final

from pharos.wire.errors import ParameterError, RemoteProtocolError
from pharos.wire.reality.accounts import parse_user_id
from pharos.wire.reality.auth import KEY_LENGTH, Version
from pharos.wire.reality.control import (
    BadRequest,
    Change,
    GetRequest,
    Request,
    UserChange,
    WatchRequest,
    read_flow,
    read_place,
)
from pharos.wire.reality.params import check_server_names, check_short_ids, split_target
from pharos.wire.units import KIB, MIB

MAX_LINE: Final = 64 * KIB
"""Octets; the longest value is a list of networks, of which a thousand have 20 kB."""
MAX_REQUEST: Final = 32 * MIB
"""Octets: 100,000 users of 250."""
MAX_RATE: Final = 2**53
"""Octets a second; a limit of as many is none."""
MAX_DIFFERENCE: Final = 86_400
"""Seconds: a day."""
_NAME: Final = re.compile(r"[!-~]{1,128}")
"""Of a user: anything visible. It is the manager's own, and goes into events as it stands."""
_OPERATIONS: Final = ("get=1", "set=1", "watch=1")


class ControlReader:
    """Takes the octets of one connection and gives the requests in them, in order."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._size = 0
        self._operation = ""
        self._change = _Reading()

    def receive_data(self, data: bytes | bytearray) -> list[Request]:
        """Return the requests that are whole now.

        Raises: RemoteProtocolError — no request begins like that, or it is too long: close the connection.
        """
        self._buffer += data
        self._size += len(data)
        *lines, self._buffer = self._buffer.split(b"\n")
        if self._size > MAX_REQUEST or len(self._buffer) > MAX_LINE:
            raise RemoteProtocolError("control: the request is too long")
        requests: list[Request] = []
        for line in lines:
            request = self._line(line.decode("ascii", "replace"))
            if request is not None:
                requests.append(request)
                self._size = len(self._buffer)
        return requests

    def _line(self, line: str) -> Request | None:
        if not self._operation:
            if line not in _OPERATIONS:
                raise RemoteProtocolError("control: a request begins with get=1, set=1 or watch=1")
            self._operation, self._change = line, _Reading()
            return None
        if line:
            self._change.line(line, takes_keys=self._operation == "set=1")
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


class _Reading:
    """A request `set` as it is gathered; behind the first error the rest is passed over."""

    def __init__(self) -> None:
        self.error: BadRequest | None = None
        self._values: dict[str, Any] = {}
        self._users: list[dict[str, Any]] = []

    def line(self, line: str, *, takes_keys: bool) -> None:
        if self.error is not None:
            return
        key, equals, value = line.partition("=")
        try:
            if not equals or not takes_keys:
                # It may be the value of a line that was cut, and is not quoted either.
                self.error = BadRequest(errno.EPROTO, "no line key=value may stand there, or this is none")
            elif key == "user":
                self._users.append({"name": _read_name(value)})
            elif self._users:
                field, read = _USER_KEYS[key]
                self._users[-1][field] = read(value)
            else:
                self._values[key] = _KEYS[key](value)
        except KeyError:
            self.error = BadRequest(errno.EPROTO, f"{key[:40]!r} is no key that may stand there")
        except (ValueError, ParameterError):
            # The value may be a secret that went wrong, and is not quoted.
            self.error = BadRequest(errno.EINVAL, f"the value of {key} breaks its rule")

    def done(self) -> Change:
        return Change(**self._values, users=tuple(UserChange(**user) for user in self._users))


def _read_name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError("a user's name is 1 to 128 visible ASCII characters")
    return text


def _read_key(text: str) -> bytes:
    key = bytes.fromhex(text)
    if len(key) != KEY_LENGTH or len(text) != 2 * KEY_LENGTH:
        raise ValueError("a key is 64 hexadecimal digits")
    return key


def _read_seed(text: str) -> bytes:
    return _read_key(text) if text else b""


def _read_true(text: str) -> bool:
    if text != "true":
        raise ValueError("only true may stand there")
    return True


def _read_flag(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError("true or false")
    return text == "true"


def _read_number(most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) <= 16 and int(text) <= most):
            raise ValueError(f"a whole number up to {most}")
        return int(text)

    return read


def _read_target(text: str) -> str:
    split_target(text)
    return text


def _read_version(text: str) -> Version:
    major, minor, patch = (_read_number(255)(part) for part in text.split("."))
    return major, minor, patch


def _read_places(text: str) -> tuple[tuple[str, int], ...]:
    places = tuple(read_place(part) for part in text.split(",")) if text else ()
    if len(set(places)) != len(places):
        raise ValueError("the same twice")
    return places


def _read_networks(text: str) -> tuple[IPv4Network | IPv6Network, ...]:
    return tuple(ipaddress.ip_network(part) for part in text.split(",")) if text else ()


_KEYS: Final[dict[str, Callable[[str], Any]]] = {
    "private_key": _read_key,
    "mldsa65_seed": _read_seed,
    "target": _read_target,
    "server_names": lambda text: check_server_names(tuple(text.split(","))),
    "short_ids": lambda text: check_short_ids(tuple(text.split(","))),
    "max_time_difference": _read_number(MAX_DIFFERENCE),
    "oldest_version": _read_version,
    "newest_version": _read_version,
    "listen": _read_places,
    "allowed_networks": _read_networks,
    "closed_networks": _read_networks,
    "internet": _read_flag,
    "replace_users": _read_true,
}
_USER_KEYS: Final[dict[str, tuple[str, Callable[[str], Any]]]] = {
    "id": ("user_id", parse_user_id),
    "flow": ("flow", read_flow),
    "send_rate": ("send_rate", _read_number(MAX_RATE)),
    "receive_rate": ("receive_rate", _read_number(MAX_RATE)),
    "remove": ("remove", _read_true),
    "kick": ("kick", _read_true),
}
