"""SOCKS 5 from the server's side (RFC 1928), with or without user name and password (RFC 1929). Sans-IO.

Streams (CONNECT) and datagrams (UDP ASSOCIATE); no BIND, which nobody uses any more.
"""

from __future__ import annotations

import enum
import hmac
from typing import Final, TypeAlias

import attrs

from pharos.wire.errors import LocalProtocolError, RemoteProtocolError
from pharos.wire.reality.addresses import SOCKS, Address, UnknownAddressTypeError
from pharos.wire.reality.xudp import Datagram

_VERSION: Final = 5
_AUTH_VERSION: Final = 1
_UNCHECKED, _PASSWORD, _NONE_OF_THEM = 0, 2, 0xFF
_UNSPECIFIED: Final = b"\1" + bytes(6)
"""0.0.0.0:0, where a reply has to have an address and there is none."""
_REQUEST_HEADER: Final = 3
_DATAGRAM_HEADER: Final = 3
_CONNECT, _UDP_ASSOCIATE = 1, 3


class Reply(enum.IntEnum):
    """RFC 1928 §6."""

    SUCCEEDED = 0
    GENERAL_FAILURE = 1
    NOT_ALLOWED = 2
    NETWORK_UNREACHABLE = 3
    HOST_UNREACHABLE = 4
    CONNECTION_REFUSED = 5
    TTL_EXPIRED = 6
    COMMAND_NOT_SUPPORTED = 7
    ADDRESS_TYPE_NOT_SUPPORTED = 8


@attrs.frozen
class Credentials:
    """What a client has to show; 1 to 255 octets each.

    Raises: LocalProtocolError — one is empty or too long.
    """

    user: bytes
    password: bytes = attrs.field(repr=False)

    def __attrs_post_init__(self) -> None:
        if not all(0 < len(value) < 256 for value in (self.user, self.password)):
            raise LocalProtocolError("a user name and a password have 1 to 255 octets each")

    def are(self, user: bytes, password: bytes) -> bool:
        """Compare, in a time that says nothing of how much was right."""
        same_user = hmac.compare_digest(user, self.user)
        return hmac.compare_digest(password, self.password) and same_user


@attrs.frozen
class ConnectRequest:
    """A stream is wanted."""

    address: Address


@attrs.frozen
class AssociateRequest:
    """A way for datagrams is wanted, for as long as the connection stands."""

    port: int
    """From where the client will send them; 0 if it does not know yet."""


SocksRequest: TypeAlias = ConnectRequest | AssociateRequest


class _State(enum.Enum):
    METHODS = "the methods a client offers"
    PASSWORD = "a user name and a password"  # noqa: S105 -- it names a state
    REQUEST = "a request"
    ANSWERING = "our answer"
    ANSWERED = "nothing more"
    FAILED = "nothing more, for it has failed"


class SocksServer:
    """One connection up to the answer; what comes after it is payload."""

    def __init__(self, credentials: Credentials | None = None) -> None:
        self._credentials = credentials
        self._state = _State.METHODS
        self._buffer = bytearray()
        self._output = bytearray()

    def receive_data(self, data: bytes) -> SocksRequest | None:
        """Return the request once it is whole. Send `take_output` after each call, one that raised included.

        Raises: RemoteProtocolError — the client broke the protocol, is not let in, or wants what we do not have.
        """
        self._buffer += data
        request = None
        try:
            while self._state is _State.METHODS and self._methods():
                pass
            while self._state is _State.PASSWORD and self._password():
                pass
            if self._state is _State.REQUEST:
                request = self._request()
        except RemoteProtocolError:
            self._state = _State.FAILED
            raise
        if request is not None:
            self._state = _State.ANSWERING
        return request

    def take_output(self) -> bytes:
        """Return what is to be sent, once."""
        output = bytes(self._output)
        self._output.clear()
        return output

    def succeed(self, bound: Address | None = None) -> bytes:
        """Return the answer to a request that was granted; ``bound`` is where datagrams are to be sent.

        Raises: LocalProtocolError — there is no request to answer.
        """
        return self._answer(Reply.SUCCEEDED, bound)

    def fail(self, reply: Reply) -> bytes:
        """Return the answer to a request that was not granted; close the connection after it.

        Raises: LocalProtocolError — there is no request to answer.
        """
        return self._answer(reply, None)

    def take_early(self) -> bytes:
        """Return the payload that the client sent before it had its answer, once."""
        early = bytes(self._buffer)
        self._buffer.clear()
        return early

    def _answer(self, reply: Reply, bound: Address | None) -> bytes:
        if self._state is not _State.ANSWERING:
            raise LocalProtocolError("SOCKS: there is no request to answer")
        self._state = _State.ANSWERED
        return _render_reply(reply, bound)

    def _methods(self) -> bool:
        if self._buffer and self._buffer[0] != _VERSION:
            raise RemoteProtocolError(f"SOCKS: version {self._buffer[0]} is none that we know")
        if len(self._buffer) < 2 or len(self._buffer) < (end := 2 + self._buffer[1]):
            return False
        wanted = _UNCHECKED if self._credentials is None else _PASSWORD
        offered = wanted in self._buffer[2:end]
        del self._buffer[:end]
        self._output += bytes((_VERSION, wanted if offered else _NONE_OF_THEM))
        if not offered:
            raise RemoteProtocolError(
                f"SOCKS: the client does not offer {'user name and password' if self._credentials else 'to go without'}"
            )
        self._state = _State.PASSWORD if self._credentials else _State.REQUEST
        return True

    def _password(self) -> bool:
        if self._buffer and self._buffer[0] != _AUTH_VERSION:
            raise RemoteProtocolError(f"SOCKS: version {self._buffer[0]} of passwords is none that we know")
        if len(self._buffer) < 2 or len(self._buffer) < (middle := 2 + self._buffer[1]) + 1:
            return False
        end = middle + 1 + self._buffer[middle]
        if len(self._buffer) < end:
            return False
        user, password = bytes(self._buffer[2:middle]), bytes(self._buffer[middle + 1 : end])
        del self._buffer[:end]
        assert self._credentials is not None, "the state says so"
        right = self._credentials.are(user, password)
        self._output += bytes((_AUTH_VERSION, not right))
        if not right:
            raise RemoteProtocolError("SOCKS: wrong user name or password")
        self._state = _State.REQUEST
        return True

    def _request(self) -> SocksRequest | None:
        head = bytes(self._buffer[:_REQUEST_HEADER])
        if head and head[0] != _VERSION:
            raise self._refusal(Reply.GENERAL_FAILURE, f"version {head[0]} is none that we know")
        if len(head) > 1 and head[1] not in (_CONNECT, _UDP_ASSOCIATE):
            raise self._refusal(Reply.COMMAND_NOT_SUPPORTED, f"there is no command {head[1]} here")
        if len(head) > 2 and head[2]:
            raise self._refusal(Reply.GENERAL_FAILURE, "the reserved octet is zero")
        try:
            found = SOCKS.parse_parts(self._buffer, _REQUEST_HEADER)
        except UnknownAddressTypeError as error:
            raise self._refusal(Reply.ADDRESS_TYPE_NOT_SUPPORTED, str(error)) from error
        except RemoteProtocolError as error:
            raise self._refusal(Reply.GENERAL_FAILURE, str(error)) from error
        if found is None:
            return None
        host, port, end = found
        del self._buffer[:end]
        if head[1] == _UDP_ASSOCIATE:
            return AssociateRequest(port)
        if not port:
            raise self._refusal(Reply.GENERAL_FAILURE, "there is no port 0 to connect to")
        return ConnectRequest(Address(host, port))

    def _refusal(self, reply: Reply, what: str) -> RemoteProtocolError:
        self._output += _render_reply(reply, None)
        return RemoteProtocolError(f"SOCKS: {what.removeprefix('SOCKS: ')}")


def parse_datagram(data: bytes) -> Datagram:
    """Read what a client sends to the address it was told (RFC 1928 §7).

    Raises: RemoteProtocolError — it is damaged, or a fragment, which we do not put together.
    """
    if len(data) < _DATAGRAM_HEADER or data[0] or data[1]:
        raise RemoteProtocolError("SOCKS: a datagram begins with two zeros")
    if data[2]:
        raise RemoteProtocolError("SOCKS: datagrams in fragments are not taken")
    found = SOCKS.parse(data, _DATAGRAM_HEADER)
    if found is None:
        raise RemoteProtocolError("SOCKS: the address of a datagram is cut off")
    address, end = found
    return Datagram(address, data[end:])


def render_datagram(datagram: Datagram) -> bytes:
    """Return what a client is sent, with the address the datagram comes from."""
    return bytes(_DATAGRAM_HEADER) + SOCKS.render(datagram.address) + datagram.data


def _render_reply(reply: Reply, bound: Address | None) -> bytes:
    head = bytes((_VERSION, reply, 0))
    return head + (_UNSPECIFIED if bound is None else SOCKS.render(bound))
