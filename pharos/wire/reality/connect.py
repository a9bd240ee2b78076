"""An HTTP proxy's one request, CONNECT (RFC 9110 §9.3.6), with or without Basic credentials (RFC 7617). Sans-IO."""

from __future__ import annotations

import base64
import binascii
import enum
from http import HTTPStatus
from typing import Final

import h11

from pharos.wire.errors import LocalProtocolError, RemoteProtocolError
from pharos.wire.reality.addresses import Address, canonical_host
from pharos.wire.reality.socks import Credentials
from pharos.wire.units import KIB

MAX_HEAD: Final = 16 * KIB
"""Octets of a request; browsers send some 300, and most servers take 8 KiB."""
_REALM: Final = b'Basic realm="pharos", charset="UTF-8"'


class _State(enum.Enum):
    REQUEST = "a request"
    ANSWERING = "our answer"
    ANSWERED = "nothing more"


class ConnectServer:
    """One connection up to the answer; what comes after it is payload."""

    def __init__(self, credentials: Credentials | None = None) -> None:
        self._credentials = credentials
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
        self._state = _State.REQUEST
        self._output = b""

    def receive_data(self, data: bytes) -> Address | None:
        """Return where to connect to once the request is whole. Send `take_output` after each call that raised.

        Raises: RemoteProtocolError — it is no request, not CONNECT, or not let in: close the connection.
        """
        # Nothing is the end of file to h11, and no more octets could follow it.
        if not data or self._state is _State.ANSWERED:
            return None
        self._http.receive_data(data)
        if self._state is _State.ANSWERING:
            return None
        try:
            event = self._http.next_event()
        except h11.RemoteProtocolError as error:
            status = HTTPStatus(error.error_status_hint)
            raise self._refusal(status, str(error)) from error
        if not isinstance(event, h11.Request):
            return None
        if event.method != b"CONNECT":
            raise self._refusal(HTTPStatus.METHOD_NOT_ALLOWED, "only CONNECT is served", (b"Allow", b"CONNECT"))
        if self._credentials is not None and not _shows(event, self._credentials):
            raise self._refusal(
                HTTPStatus.PROXY_AUTHENTICATION_REQUIRED, "no or wrong credentials", (b"Proxy-Authenticate", _REALM)
            )
        address = _parse_authority(event.target)
        if address is None:
            raise self._refusal(HTTPStatus.BAD_REQUEST, "CONNECT takes a host and a port")
        self._state = _State.ANSWERING
        return address

    def take_output(self) -> bytes:
        """Return what is to be sent, once."""
        output, self._output = self._output, b""
        return output

    def succeed(self) -> bytes:
        """Return the answer to a request that was granted.

        Raises: LocalProtocolError — there is no request to answer.
        """
        self._begin_answer()
        return self._http.send(h11.Response(status_code=200, headers=[], reason=b"Connection established")) or b""

    def fail(self, status: HTTPStatus) -> bytes:
        """Return the answer to a request that was not granted; close the connection after it.

        Raises: LocalProtocolError — there is no request to answer.
        """
        self._begin_answer()
        return self._render(status)

    def take_early(self) -> bytes:
        """Return the payload that the client sent before it had its answer, once the request was read."""
        return self._http.trailing_data[0]

    def _begin_answer(self) -> None:
        if self._state is not _State.ANSWERING:
            raise LocalProtocolError("HTTP: there is no request to answer")
        self._state = _State.ANSWERED

    def _refusal(self, status: HTTPStatus, what: str, *headers: tuple[bytes, bytes]) -> RemoteProtocolError:
        self._state = _State.ANSWERED
        self._output = self._render(status, *headers)
        return RemoteProtocolError(f"HTTP: {what}")

    def _render(self, status: HTTPStatus, *headers: tuple[bytes, bytes]) -> bytes:
        body = f"{status.value} {status.phrase}\n".encode()
        fields = [
            *headers,
            (b"Content-Type", b"text/plain; charset=utf-8"),
            (b"Content-Length", str(len(body)).encode()),
            (b"Connection", b"close"),
        ]
        response = h11.Response(status_code=status.value, headers=fields, reason=status.phrase.encode())
        return b"".join(self._http.send(event) or b"" for event in (response, h11.Data(data=body), h11.EndOfMessage()))


def _shows(request: h11.Request, credentials: Credentials) -> bool:
    values = [value for name, value in request.headers if name == b"proxy-authorization"]
    if len(values) != 1:
        return False
    scheme, _, token = values[0].partition(b" ")
    if scheme.lower() != b"basic":
        return False
    try:
        user, colon, password = base64.b64decode(token.strip(b" "), validate=True).partition(b":")
    except binascii.Error:
        return False
    return bool(colon) and credentials.are(user, password)


def _parse_authority(target: bytes) -> Address | None:
    """Read host and port, an IPv6 address in brackets (RFC 9112 §3.2.3); None if they are none."""
    host, _, port = target.decode("latin-1").rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    found = canonical_host(host[1:-1] if bracketed else host)
    if found is None or (":" in found) != bracketed:
        return None
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) < 65536):
        return None
    return Address(found, int(port))
