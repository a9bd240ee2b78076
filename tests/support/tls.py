"""TLS handshakes in memory, for what needs no socket."""

import contextlib
import ssl


def shake_hands(
    server: ssl.SSLContext,
    client: ssl.SSLContext,
    *,
    server_hostname: str | None = None,
    session: ssl.SSLSession | None = None,
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Return both ends, client first, of a handshake that succeeded on both.

    Raises: whatever the end that refused raised, ssl.SSLError as a rule.
    """
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    near = client.wrap_bio(to_client, to_server, server_hostname=server_hostname, session=session)
    far = server.wrap_bio(to_server, to_client, server_side=True)
    waiting = [near, far]
    # A TLS 1.3 handshake takes three flights; a fourth turn would mean that nobody moves.
    for _ in range(4):
        for end in tuple(waiting):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            waiting.remove(end)
    assert not waiting, "the handshake stands still"
    # What the server has sent since, tickets for one, is taken in by reading.
    with contextlib.suppress(ssl.SSLWantReadError):
        near.read(1)
    return near, far
