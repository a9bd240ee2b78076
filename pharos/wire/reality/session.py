"""VLESS with or without Vision, as either end speaks it inside an outer TLS. Sans-IO.

Whoever drives one does this, for each direction on its own:

- what comes out of the outer TLS goes to `receive_data`, **one record at a time**. After `RawFollows` the outer TLS of
  this direction is over: what its receive buffer still holds, undecrypted, and whatever the socket brings goes to
  `receive_data` as it is;
- what `send_data` and `tick` return goes through the outer TLS, or if ``raw`` is set, on the socket as it is. Once
  `sends_raw`, the outer TLS may say nothing any more in this direction, its close_notify least of all: the end is then
  the socket's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, TypeAlias

import attrs

from pharos.wire.errors import LocalProtocolError, RemoteProtocolError, TruncatedError
from pharos.wire.reality.accounts import Account, Accounts
from pharos.wire.reality.innertls import Octets
from pharos.wire.reality.vision import Vision
from pharos.wire.reality.vless import (
    MAX_REQUEST,
    Command,
    Flow,
    Request,
    parse_request,
    parse_response,
    render_response,
)
from pharos.wire.units import MILLISECONDS

FIRST_PAYLOAD_TIMEOUT: Final = 500 * MILLISECONDS
"""How long a request waits for payload to travel with; Xray's clients wait as long, so that ours look like them."""


@attrs.frozen
class RequestReceived:
    """At a server, once and before any payload."""

    request: Request
    account: Account


@attrs.frozen
class ResponseReceived:
    """At a client, once and before any payload: the server has reached the target."""


@attrs.frozen
class PayloadReceived:
    data: Octets
    """Never empty."""


@attrs.frozen
class RawFollows:
    """The outer TLS of this direction ended with the record that brought this."""


Event: TypeAlias = RequestReceived | ResponseReceived | PayloadReceived | RawFollows


@attrs.frozen
class Outgoing:
    """What is to be sent, perhaps nothing."""

    data: Octets
    raw: bool = False
    """Whether it goes on the socket as it is, past the outer TLS."""


class _Session:
    """What both ends have in common: a head in each direction, and payload after it."""

    def __init__(self) -> None:
        self._vision: Vision | None = None
        # What goes out together with the first payload.
        self._head = b""
        # The peer's head as far as it has come; None once it is whole.
        self._peer_head: bytearray | None = bytearray()
        self._told_raw = False
        self._ended = False

    @property
    def sends_raw(self) -> bool:
        """Whether the next `Outgoing` is raw, and the outer TLS of this direction over."""
        return self._vision is not None and self._vision.writer.is_raw

    @property
    def takes_single_records(self) -> bool:
        """Whether the next record may be the last one of the outer TLS; if not, several may come at a time."""
        return self._vision is not None and self._vision.reader.is_padded

    @property
    def receives_raw(self) -> bool:
        return self._vision is not None and self._vision.reader.is_raw

    def send_data(self, data: Octets) -> Outgoing:
        """Return what carries a piece of payload.

        Raises: LocalProtocolError — after `send_end`, or a server's before the request.
        """
        self._check_sendable()
        if not data:
            return Outgoing(b"")
        raw = self.sends_raw
        payload = data if self._vision is None else self._vision.writer.write(data)
        return Outgoing(self._with_head(payload), raw)

    def send_end(self) -> Outgoing:
        """Return what has to go out before the end of our direction.

        Raises: LocalProtocolError — as `send_data`.
        """
        self._check_sendable()
        self._ended = True
        return Outgoing(self._with_head(b""))

    def receive_data(self, data: Octets) -> list[Event]:
        """Take a record of the outer TLS, or raw octets once `receives_raw`.

        Raises: RemoteProtocolError — the peer breaks the protocol: close the connection, without a word.
        """
        events: list[Event] = []
        if self._peer_head is not None:
            self._peer_head += data
            data = self._read_head(self._peer_head, events)
        if self._vision is not None:
            data = self._vision.reader.read(data)
        if data:
            events.append(PayloadReceived(data))
        if self.receives_raw and not self._told_raw:
            self._told_raw = True
            events.append(RawFollows())
        return events

    def receive_end(self) -> None:
        """Note that the peer's direction has ended.

        Raises: TruncatedError — in the middle of something.
        """
        if self._peer_head is not None:
            raise TruncatedError("VLESS: the peer ended without a whole request or response")
        if self._vision is not None and not self._vision.reader.is_between:
            raise TruncatedError("Vision: the peer ended inside a block")

    def _check_sendable(self) -> None:
        if self._ended:
            raise LocalProtocolError("VLESS: nothing goes out after the end")

    def _with_head(self, payload: Octets) -> Octets:
        head, self._head = self._head, b""
        return b"".join((head, payload)) if head else payload

    def _read_head(self, head: bytearray, events: list[Event]) -> bytes:
        """Read the peer's head if it is whole; return the payload behind it."""
        raise AssertionError("each end reads its own")


class ClientSession(_Session):
    """A client's end of one request. ``now`` and `due` are seconds of one clock of the caller's."""

    def __init__(self, request: Request, *, random: Callable[[int], bytes], now: float) -> None:
        super().__init__()
        self.due = now + FIRST_PAYLOAD_TIMEOUT
        """When to call `tick`, infinity if there is no need to."""
        self._head = request.render()
        if request.flow is Flow.VISION:
            self._vision = Vision(request.user_id, random)

    def tick(self, now: float) -> Outgoing:
        """Return the request without payload if it has waited long enough: there may be servers that speak first."""
        if now < self.due:
            return Outgoing(b"")
        return Outgoing(self._with_head(b"" if self._vision is None else self._vision.writer.write_empty()))

    def _with_head(self, payload: Octets) -> Octets:
        self.due = math.inf
        return super()._with_head(payload)

    def _read_head(self, head: bytearray, events: list[Event]) -> bytes:
        size = parse_response(head)
        if size is None:
            return b""
        self._peer_head = None
        events.append(ResponseReceived())
        return bytes(head[size:])


class ServerSession(_Session):
    """A server's end of one connection. The response goes out with the first payload, and no earlier."""

    def __init__(self, accounts: Accounts, *, random: Callable[[int], bytes]) -> None:
        super().__init__()
        self._accounts = accounts
        self._random = random
        self._head = render_response()

    @property
    def takes_single_records(self) -> bool:
        # Before the request nobody knows whether it is for Vision.
        return self._peer_head is not None or super().takes_single_records

    def _check_sendable(self) -> None:
        super()._check_sendable()
        if self._peer_head is not None:
            raise LocalProtocolError("VLESS: a server says nothing before the request")

    def _read_head(self, head: bytearray, events: list[Event]) -> bytes:
        found = parse_request(head)
        if found is None:
            assert len(head) < MAX_REQUEST, "every field has a limit"
            return b""
        request, size = found
        account = self._accounts.find(request.user_id)
        check_flow(request, account)
        self._peer_head = None
        if request.flow is Flow.VISION:
            # With the octets the client sent, those that count for nothing included.
            self._vision = Vision(request.user_id, self._random)
        events.append(RequestReceived(request, account))
        return bytes(head[size:])


def check_flow(request: Request, account: Account) -> Request:
    """Return a request whose flow is the account's.

    Inner TLS without Vision shows to whoever looks on, so an account with Vision may not go without it, but for UDP,
    of which nothing shows. Xray decides alike.

    Raises: RemoteProtocolError — it is another.
    """
    if request.flow is account.flow:
        return request
    if request.flow is Flow.NONE and request.command is not Command.TCP:
        return request
    wanted, shown = (flow.value or "no flow" for flow in (account.flow, request.flow))
    raise RemoteProtocolError(f"VLESS: the account has {wanted}, the request {shown}")
