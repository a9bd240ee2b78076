"""Every role before every listener, over real sockets (attack rows 1 to 5).

A peer is refused when not one byte of the application has passed, in either direction. There are two halves of the
check, the TLS context and `admit_peer`; each is taken away in turn to see what the other holds, and that the matrix
can turn red.
"""

import datetime
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final, Protocol

import attrs
import pytest
import trio

from pharos.wire.errors import LinkLostError, LinkRefusedError, PeerRejectedError
from pharos.wire.pki.denylist import DenyCheck
from pharos.wire.pki.keys import certificate_to_der as der
from pharos.wire.pki.roles import CONTROL, INGRESS, TUNNEL, WEB, Authority, Identity, ListenerPolicy, Role
from pharos.wire.pki.tls import Credentials, client_context, enrolment_context, server_context
from pharos.wire.pki.trust import Trust
from pharos.wire.pki.verify import admit_peer, authorize_peer
from pharos.wire.rpc.transport import SecureStream, SslStream, TlsStream, open_tls, serve_tls
from tests.support.pki import SampleFleet, home_fleet, make_web_credentials, other_fleet, utc_now

HOME = home_fleet()
GREETING, ANSWER = b"hello", b"welcome"


class Admit(Protocol):
    """`admit_peer`, or a weakened one."""

    def __call__(
        self,
        policy: ListenerPolicy,
        certificate: bytes | None,
        *,
        trust: Trust,
        now: datetime.datetime,
        deny: DenyCheck | None = None,
    ) -> Identity | None: ...


@attrs.frozen(kw_only=True)
class Listener:
    """One of the five places that a peer can dial."""

    name: str
    policy: ListenerPolicy
    credentials: Credentials
    hostname: str
    admitted: frozenset[Role | None]


def fleet_listener(name: str, policy: ListenerPolicy, role: Role, admitted: set[Role | None]) -> Listener:
    hostname = HOME.identity(role, name).dns_name
    assert hostname is not None
    return Listener(
        name=name,
        policy=policy,
        credentials=HOME.member(role, name),
        hostname=hostname,
        admitted=frozenset(admitted),
    )


LISTENERS: Final = [
    fleet_listener("buoy-control", CONTROL, Role.NODE, {Role.CONTROLLER}),
    fleet_listener("tunnel", TUNNEL, Role.RELAY, {Role.CONTROLLER}),
    fleet_listener("remote-ingress", INGRESS, Role.RELAY, {Role.DEVICE, Role.ADMIN, None}),
    fleet_listener("embedded-ingress", INGRESS, Role.RELAY, {Role.DEVICE, Role.ADMIN, None}),
    Listener(
        name="helm-web",
        policy=WEB,
        credentials=make_web_credentials(),
        hostname="localhost",
        admitted=frozenset({Role.ADMIN}),
    ),
]
everywhere = pytest.mark.parametrize("listener", LISTENERS, ids=lambda listener: listener.name)
PEERS: Final = (*Role, None)


@attrs.define(kw_only=True)
class Running:
    """A listener with an address, and what it has seen."""

    listener: Listener
    port: int
    greetings: list[bytes]


def proper_context(listener: Listener) -> ssl.SSLContext:
    return server_context(listener.credentials, trust=HOME.trust, policy=listener.policy)


def context_with_every_anchor(listener: Listener) -> ssl.SSLContext:
    """Weakened: the listener's TLS believes both authorities."""
    context = proper_context(listener)
    for authority in Authority:
        context.load_verify_locations(cadata=der(HOME.trust.anchor(authority)))
    return context


def admit_everybody(
    policy: ListenerPolicy,
    certificate: bytes | None,
    *,
    trust: Trust,
    now: datetime.datetime,
    deny: DenyCheck | None = None,
) -> Identity | None:
    """Weakened: no role check."""
    return None


@asynccontextmanager
async def running(
    listener: Listener,
    *,
    admit: Admit = admit_peer,
    make_context: Callable[[Listener], ssl.SSLContext] = proper_context,
    transport: type[SecureStream] = TlsStream,
    clock: Callable[[], datetime.datetime] = utc_now,
    deny: DenyCheck | None = None,
) -> AsyncIterator[Running]:
    greetings: list[bytes] = []

    async def greet(stream: SecureStream) -> None:
        admit(listener.policy, stream.peer_certificate, trust=HOME.trust, now=clock(), deny=deny)
        greeting = bytes(await stream.receive_some())
        if greeting:
            greetings.append(greeting)
            await stream.send_all(ANSWER)

    async with trio.open_nursery() as nursery:

        async def serve(task_status: trio.TaskStatus[tuple[str, int]]) -> None:
            await serve_tls(
                greet,
                host="127.0.0.1",
                port=0,
                context=make_context(listener),
                transport=transport,
                task_status=task_status,
            )

        _, port = await nursery.start(serve)
        yield Running(listener=listener, port=port, greetings=greetings)
        nursery.cancel_scope.cancel()


def peer_context(listener: Listener, fleet: SampleFleet, role: Role | None) -> ssl.SSLContext:
    """What a member of `fleet` dials with; it believes the server, since what is tested is the server."""
    context = client_context(trust=HOME.trust, credentials=None if role is None else fleet.member(role))
    if listener.policy is WEB:
        context.load_verify_locations(cadata=der(listener.credentials.certificate))
    return context


async def gets_in(target: Running, context: ssl.SSLContext, transport: type[SecureStream] = TlsStream) -> bool:
    """Tell whether one byte comes back; a peer that is kept out must not have been listened to either."""
    before = len(target.greetings)
    with trio.fail_after(5):
        try:
            stream = await open_tls(
                "127.0.0.1", target.port, context, server_hostname=target.listener.hostname, transport=transport
            )
            async with stream:
                await stream.send_all(GREETING)
                answer = await stream.receive_some()
        except (LinkLostError, LinkRefusedError, trio.BrokenResourceError):
            answer = b""
    if answer:
        assert answer == ANSWER
        return True
    assert len(target.greetings) == before
    return False


async def admitted_to(target: Running, fleet: SampleFleet = HOME) -> set[Role | None]:
    return {role for role in PEERS if await gets_in(target, peer_context(target.listener, fleet, role))}


@everywhere
@pytest.mark.row(1)
async def test_listener_admits_its_roles_only(listener: Listener) -> None:
    async with running(listener) as target:
        assert await admitted_to(target) == listener.admitted


@everywhere
@pytest.mark.row(1)
async def test_fallback_transport_admits_the_same_roles(listener: Listener) -> None:
    async with running(listener, transport=SslStream) as target:
        for role in PEERS:
            expected = role in listener.admitted
            assert await gets_in(target, peer_context(listener, HOME, role), SslStream) is expected, role


@everywhere
@pytest.mark.row(1)
async def test_role_check_holds_where_tls_believes_both_authorities(listener: Listener) -> None:
    async with running(listener, make_context=context_with_every_anchor) as target:
        assert await admitted_to(target) == listener.admitted


# What leaks through the TLS context alone, beside those who belong: roles of the same authority and usage.
WITHOUT_ROLE_CHECK: Final[dict[str, set[Role | None]]] = {"helm-web": {Role.DEVICE}}
# And with both authorities believed, all TLS clients of the fleet; node and relay never pass for clients.
WITHOUT_BOTH: Final[dict[str, set[Role | None]]] = {
    name: {Role.CONTROLLER, Role.DEVICE, Role.ADMIN} for name in (listener.name for listener in LISTENERS)
}


@everywhere
@pytest.mark.row(1)
async def test_matrix_turns_red_without_the_role_check(listener: Listener) -> None:
    async with running(listener, admit=admit_everybody) as target:
        assert await admitted_to(target) == listener.admitted | WITHOUT_ROLE_CHECK.get(listener.name, set())
    async with running(listener, admit=admit_everybody, make_context=context_with_every_anchor) as target:
        leaked = await admitted_to(target)
    assert leaked == listener.admitted | WITHOUT_BOTH[listener.name]
    assert leaked != listener.admitted


@everywhere
@pytest.mark.row(5)
async def test_members_of_another_fleet_are_strangers_or_refused(listener: Listener) -> None:
    async with running(listener) as target:
        # With no certificate at all, nobody can tell which fleet the peer is of.
        assert await admitted_to(target, other_fleet()) == listener.admitted & {None}


@everywhere
@pytest.mark.row(7)
async def test_nobody_gets_in_by_an_expired_certificate(listener: Listener) -> None:
    """By the listener's own clock, for OpenSSL goes by the system's."""

    def in_thirteen_months() -> datetime.datetime:
        return utc_now() + datetime.timedelta(days=395)

    async with running(listener, clock=in_thirteen_months) as target:
        assert await admitted_to(target) == listener.admitted & {None}


@everywhere
@pytest.mark.row(11)
async def test_denied_members_do_not_get_in(listener: Listener) -> None:
    denied = HOME.deny_list(*(HOME.identity(role) for role in Role))
    async with running(listener, deny=denied) as target:
        assert await admitted_to(target) == listener.admitted & {None}


# --- the other direction: who a client believes


@pytest.mark.parametrize("transport", [TlsStream, SslStream])
async def test_node_cannot_stand_in_for_another(transport: type[SecureStream]) -> None:
    node_a = fleet_listener("a", CONTROL, Role.NODE, {Role.CONTROLLER})
    context = client_context(trust=HOME.trust, credentials=HOME.member(Role.CONTROLLER))
    name_of_b = HOME.identity(Role.NODE, "b").dns_name
    assert name_of_b is not None
    async with running(node_a, transport=transport) as target:
        with pytest.raises(PeerRejectedError, match="Hostname mismatch"):
            await open_tls("127.0.0.1", target.port, context, server_hostname=name_of_b, transport=transport)

        # Weakened: TLS does not compare the name, so the other half of the check has to.
        context.check_hostname = False
        stream = await open_tls("127.0.0.1", target.port, context, server_hostname=name_of_b, transport=transport)
        async with stream:
            leaf = stream.peer_certificate
        assert leaf is not None
        with pytest.raises(PeerRejectedError, match="is not b"):
            authorize_peer(leaf, trust=HOME.trust, roles={Role.NODE}, peer_id="b", now=utc_now())
        # Red: with no id to compare, it passes.
        identity = authorize_peer(leaf, trust=HOME.trust, roles={Role.NODE}, peer_id=None, now=utc_now())
        assert identity.id == "a"


@pytest.mark.parametrize("transport", [TlsStream, SslStream])
async def test_stranger_knows_the_relay_of_its_link_by_the_root_hash(transport: type[SecureStream]) -> None:
    ingress = next(listener for listener in LISTENERS if listener.name == "remote-ingress")
    links = {
        (HOME.root_hash, "remote-ingress"): True,
        (HOME.root_hash, "embedded-ingress"): False,
        (other_fleet().root_hash, "remote-ingress"): False,
    }
    async with running(ingress, transport=transport) as target:
        for (root_hash, relay_id), genuine in links.items():
            context = enrolment_context(root_hash=root_hash, relay_id=relay_id, now=utc_now())
            if genuine:
                assert await gets_in(target, context, transport)
            else:
                with pytest.raises(PeerRejectedError):
                    await gets_in(target, context, transport)
        assert target.greetings == [GREETING]
