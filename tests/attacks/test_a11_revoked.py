"""Row 11. Position: a revoked member. Wants: to stay in its live session, to come back, or to resume an old one.

Countermeasure: a deny list that is asked on every handshake and cuts live sessions when it changes; no tickets.
The daemons themselves: tests/buoy/test_control.py and test_bounds.py, tests/beacon/test_orders.py.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio

from pharos.wire.errors import PeerRejectedError
from pharos.wire.pki.keys import certificate_to_der as der
from pharos.wire.pki.roles import Role
from pharos.wire.pki.sessions import Sessions
from pharos.wire.pki.tls import client_context, server_context
from pharos.wire.pki.verify import admit_peer
from pharos.wire.rpc.transport import SecureStream, open_tls, serve_tls
from tests.support.pki import utc_now
from tests.wire.pki import test_sessions as live
from tests.wire.pki import test_tls as tls
from tests.wire.pki.test_matrix import HOME, LISTENERS

# Security.md §2a: an online node cuts within two seconds of the list.
DEADLINE = 2

INGRESS = next(listener for listener in LISTENERS if listener.name == "remote-ingress")
LOST = HOME.identity(Role.DEVICE, "lost")


def leave_alone(_cut: Callable[[], None]) -> Callable[[], None]:
    """Weakened: a new list is for those who come after it."""
    return lambda: None


@asynccontextmanager
async def echoing(
    sessions: Sessions, *, cut_by: Callable[[Callable[[], None]], Callable[[], None]] = lambda cut: cut
) -> AsyncIterator[int]:
    """Run an ingress that echoes what its members say; yield its port."""

    async def echo(stream: SecureStream) -> None:
        leaf = stream.peer_certificate
        identity = admit_peer(INGRESS.policy, leaf, trust=HOME.trust, now=utc_now(), deny=sessions.deny)
        assert leaf is not None
        assert identity is not None
        with trio.CancelScope() as scope, sessions.session(identity, leaf, cut=cut_by(scope.cancel)):
            while data := await stream.receive_some():
                await stream.send_all(data)

    context = server_context(INGRESS.credentials, trust=HOME.trust, policy=INGRESS.policy)
    async with trio.open_nursery() as nursery:

        async def serve(task_status: trio.TaskStatus[tuple[str, int]]) -> None:
            await serve_tls(echo, host="127.0.0.1", port=0, context=context, task_status=task_status)

        _, port = await nursery.start(serve)
        yield port
        nursery.cancel_scope.cancel()


async def connect(port: int, name: str) -> SecureStream:
    context = client_context(trust=HOME.trust, credentials=HOME.member(Role.DEVICE, name))
    return await open_tls("127.0.0.1", port, context, server_hostname=INGRESS.hostname)


async def next_words(stream: SecureStream) -> bytes:
    """Wait for what comes next; nothing, if the stream ended in one way or another."""
    try:
        return bytes(await stream.receive_some())
    except trio.BrokenResourceError:
        return b""


async def hears_itself(stream: SecureStream) -> bool:
    with trio.fail_after(5):
        try:
            await stream.send_all(b"still there?")
        except trio.BrokenResourceError:
            return False
        return await next_words(stream) != b""


async def test_a11_revocation_cuts_the_live_session_and_keeps_the_member_out() -> None:
    sessions = Sessions()
    async with echoing(sessions) as port, await connect(port, "lost") as lost, await connect(port, "kept") as kept:
        assert await hears_itself(lost)
        assert await hears_itself(kept)
        with trio.fail_after(DEADLINE):
            assert sessions.apply(HOME.deny_list(LOST)) == (LOST,)
            assert await next_words(lost) == b""
        assert await hears_itself(kept)
        async with await connect(port, "lost") as again:
            assert not await hears_itself(again)
        async with await connect(port, "new") as other:
            assert await hears_itself(other)


async def test_a11_turns_red_where_a_list_is_only_for_those_who_come_after_it() -> None:
    sessions = Sessions()
    async with echoing(sessions, cut_by=leave_alone) as port, await connect(port, "lost") as lost:
        assert await hears_itself(lost)
        sessions.apply(HOME.deny_list(LOST))
        assert await hears_itself(lost)


def test_a11_turns_red_where_nobody_asks_the_list() -> None:
    leaf = der(live.MEMBERS[live.ANN].certificate)
    deny = HOME.deny_list(live.ANN)
    assert admit_peer(INGRESS.policy, leaf, trust=HOME.trust, now=utc_now()) == live.ANN
    with pytest.raises(PeerRejectedError, match="revoked"):
        admit_peer(INGRESS.policy, leaf, trust=HOME.trust, now=utc_now(), deny=deny)


def test_a11_list_that_comes_during_the_handshake_is_not_missed() -> None:
    live.test_list_between_the_check_and_the_session_is_not_missed()


@pytest.mark.red_inside
def test_a11_no_session_can_be_resumed() -> None:
    # Red inside: with tickets it can.
    tls.test_no_session_can_be_resumed()
