"""Row 13. Position: a peer, or somebody on the path. Wants: old TLS, no encryption, plain HTTP, another protocol.

Countermeasure: contexts begin at TLS 1.3, and the transport ends whatever is not HTTP/2 in it, before the handler runs.
"""

import functools
import ssl
import warnings

import pytest
import trio

from pharos.wire.pki.roles import Role
from tests.support.tls import shake_hands
from tests.wire.pki import test_tls as tls
from tests.wire.pki.test_matrix import (
    ANSWER,
    GREETING,
    HOME,
    LISTENERS,
    Listener,
    Running,
    admit_everybody,
    everywhere,
    peer_context,
    proper_context,
    running,
)

OLD = {
    "TLS 1.2": (ssl.TLSVersion.TLSv1_2, "ALL:@SECLEVEL=0"),
    "TLS 1.1": (ssl.TLSVersion.TLSv1_1, "ALL:@SECLEVEL=0"),
    "no encryption": (ssl.TLSVersion.TLSv1_2, "eNULL:@SECLEVEL=0"),
}


def make_old(context: ssl.SSLContext, name: str) -> ssl.SSLContext:
    version, ciphers = OLD[name]
    with warnings.catch_warnings():
        # Python deprecates them too.
        warnings.simplefilter("ignore")
        context.minimum_version = version
        context.set_ciphers(ciphers)
    # Before TLS 1.3 the curve of a certificate's key has to be among the groups, too.
    context.set_ecdh_curve("prime256v1")
    return context


def member_of(listener: Listener) -> ssl.SSLContext:
    """Somebody who would be welcome."""
    role = next(role for role in Role if role in listener.admitted)
    return peer_context(listener, HOME, role)


async def answer_of(target: Running, context: ssl.SSLContext | None, greeting: bytes = GREETING) -> bytes:
    """Speak to a listener by Trio's own TLS, or with no TLS at all, and return what comes back."""
    with trio.fail_after(10):
        stream: trio.abc.Stream = await trio.open_tcp_stream("127.0.0.1", target.port)
        if context is not None:
            stream = trio.SSLStream(
                stream,
                context,
                server_hostname=target.listener.hostname,
                https_compatible=True,
            )
        try:
            await stream.send_all(greeting)
            return bytes(await stream.receive_some())
        except trio.BrokenResourceError:
            return b""
        finally:
            await trio.aclose_forcefully(stream)


def without_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weakened: the transport takes what was negotiated."""
    monkeypatch.setattr("pharos.wire.rpc.transport.check_protocol", lambda _version, _alpn: None)


@everywhere
@pytest.mark.parametrize("old", OLD)
@pytest.mark.red_inside
async def test_a13_old_tls_is_refused(listener: Listener, old: str, monkeypatch: pytest.MonkeyPatch) -> None:
    dialler = make_old(member_of(listener), old)
    dialler.maximum_version = ssl.TLSVersion.TLSv1_2

    def lax_context(listener: Listener) -> ssl.SSLContext:
        return make_old(proper_context(listener), old)

    async with running(listener) as target:
        assert await answer_of(target, dialler) == b""
        assert target.greetings == []
    # The transport's half alone.
    async with running(listener, make_context=lax_context, admit=admit_everybody) as target:
        assert await answer_of(target, dialler) == b""
        assert target.greetings == []
    try:
        shake_hands(lax_context(listener), dialler, server_hostname=listener.hostname)
    except ssl.SSLError:
        pytest.skip(f"refused, as it should be; this OpenSSL cannot speak {old} at all, so there is no weakened build")
    without_the_check(monkeypatch)
    async with running(listener, make_context=lax_context, admit=admit_everybody) as weakened:
        assert await answer_of(weakened, dialler) == ANSWER


@everywhere
@pytest.mark.red_inside
async def test_a13_other_protocols_than_h2_are_refused(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    diallers = []
    for offered in ([], ["http/1.1"], ["h2c"], ["H2"], ["h2-14", "spdy/3"]):
        dialler = member_of(listener)
        if offered:
            dialler.set_alpn_protocols(offered)
        else:
            # A context without ALPN has to be made without it.
            dialler = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            dialler.check_hostname, dialler.verify_mode = False, ssl.CERT_NONE
        diallers.append(dialler)
    async with running(listener) as target:
        for dialler in diallers:
            assert await answer_of(target, dialler) == b""
        assert target.greetings == []
    without_the_check(monkeypatch)
    async with running(listener, admit=admit_everybody) as weakened:
        assert await answer_of(weakened, diallers[1]) == ANSWER


@everywhere
async def test_a13_plain_text_is_refused(listener: Listener) -> None:
    async with running(listener) as target:
        for plain in (b"GET / HTTP/1.1\r\nHost: helm\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x00" * 64):
            answer = await answer_of(target, None, plain)
            # A TLS alert (RFC 8446 §6), or nothing.
            assert not answer or answer[0] == 21
        assert target.greetings == []


async def test_a13_turns_red_where_a_port_takes_plain_text() -> None:
    """With no TLS under it a listener answers anybody: the three words above would have been heard."""

    async def answer(stream: trio.SocketStream) -> None:
        if await stream.receive_some():
            await stream.send_all(ANSWER)

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(functools.partial(trio.serve_tcp, answer, 0, host="127.0.0.1"))
        port = listener.socket.getsockname()[1]
        assert await answer_of(Running(listener=LISTENERS[0], port=port, greetings=[]), None) == ANSWER
        nursery.cancel_scope.cancel()


def test_a13_dialling_ends_at_nothing_older_either() -> None:
    tls.test_older_tls_is_refused()
