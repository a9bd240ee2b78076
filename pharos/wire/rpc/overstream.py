"""TLS 1.3 over a stream that is no socket of ours, such as one through a tunnel."""

from __future__ import annotations

import ssl
from typing import Self

import trio

from pharos.wire.errors import LinkLostError, LinkRefusedError, PeerRejectedError, RemoteProtocolError
from pharos.wire.rpc.secure import broken, check_protocol, is_alert


class OverStream(trio.abc.Stream):
    """A TLS client's end; who the peer is was verified by its context, and no more."""

    def __init__(self, secured: trio.SSLStream[trio.abc.Stream]) -> None:
        self._stream = secured
        certificate: bytes | None = secured.getpeercert(binary_form=True)
        self.peer_certificate = certificate

    @classmethod
    async def shake_hands(cls, stream: trio.abc.Stream, context: ssl.SSLContext, *, server_hostname: str) -> Self:
        """Take over ``stream`` and expect a certificate for ``server_hostname``; on any failure it is closed.

        Raises: as `pharos.wire.rpc.transport.open_tls`.
        """
        secured = trio.SSLStream(stream, context, server_hostname=server_hostname, https_compatible=True)
        try:
            try:
                await secured.do_handshake()
                check_protocol(secured.version(), secured.selected_alpn_protocol())
                return cls(secured)
            except BaseException:
                await trio.aclose_forcefully(stream)
                raise
        except trio.BrokenResourceError as error:
            cause = error.__cause__
            if isinstance(cause, ssl.SSLCertVerificationError):
                raise PeerRejectedError(f"{server_hostname}: {cause.verify_message}") from error
            if is_alert(cause):
                raise LinkRefusedError(f"{server_hostname} refused us: {cause}") from error
            if isinstance(cause, ssl.SSLError) and not isinstance(cause, ssl.SSLEOFError | ssl.SSLZeroReturnError):
                raise RemoteProtocolError(f"{server_hostname} does not speak TLS 1.3: {cause}") from error
            raise LinkLostError(f"{server_hostname} closed during the TLS handshake") from error

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Receive, as a Trio stream does."""
        try:
            return await self._stream.receive_some(max_bytes)
        except trio.BrokenResourceError as error:
            raise broken(error.__cause__ or error) from error

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send, as a Trio stream does."""
        try:
            await self._stream.send_all(data)
        except trio.BrokenResourceError as error:
            raise broken(error.__cause__ or error) from error

    async def wait_send_all_might_not_block(self) -> None:
        """Wait, as a Trio stream does."""
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """Close at once. HTTP/2 marks its own ends, so no close_notify is exchanged."""
        await trio.aclose_forcefully(self._stream.transport_stream)
