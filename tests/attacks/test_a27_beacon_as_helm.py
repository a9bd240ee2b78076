"""Row 27. Position: a member of the fleet that is not helm, such as another beacon. Wants: to pass for helm at a
beacon's tunnel port, so that the passages of devices come to it.

Countermeasure: the tunnel admits the role controller only, by a check of ours behind what TLS checks of EKU and issuer.
"""

from __future__ import annotations

import functools
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from pharos.beacon.tunnel import serve_tunnel
from pharos.beacon.upstream import Upstreams
from pharos.wire.errors import LinkLostError, LinkRefusedError
from pharos.wire.files import open_state_directory
from pharos.wire.pki.roles import ListenerPolicy, Role
from pharos.wire.pki.tls import Credentials, client_context
from pharos.wire.rpc.flow import TUNNEL
from pharos.wire.rpc.h2conn import Connection
from pharos.wire.rpc.h2stream import H2Stream
from pharos.wire.rpc.transport import open_tls
from pharos.wire.standing import Standing
from tests.support.agents import joined
from tests.support.pki import home_fleet, other_fleet, utc_now
from tests.support.relay import passage_headers
from tests.support.rpc import HOST

FLEET = home_fleet()
GATE = FLEET.identity(Role.RELAY, "gate")


def with_helms_usage(role: Role) -> Credentials:
    """A member's certificate that TLS takes for a client's: only the role in it is not helm's."""
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
    return FLEET.forge(FLEET.identity(role, "other"), change=[(usage, False)])


PRETENDERS = {
    "another beacon": FLEET.member(Role.RELAY, "other"),
    "the beacon itself": FLEET.member(Role.RELAY, "gate"),
    "a node": FLEET.member(Role.NODE),
    "a device": FLEET.member(Role.DEVICE),
    "an admin": FLEET.member(Role.ADMIN),
    "another fleet's helm": other_fleet().member(Role.CONTROLLER),
    "nobody": None,
    "another beacon, as a client": with_helms_usage(Role.RELAY),
    "a node, as a client": with_helms_usage(Role.NODE),
}


@attrs.frozen
class Listening:
    """A beacon's tunnel port."""

    upstreams: Upstreams
    port: int
    nursery: trio.Nursery

    async def takes_for_helm(self, credentials: Credentials | None) -> bool:
        """Dial as helm does, and tell whether a device's passage is handed over."""
        handed_over = trio.Event()

        async def take(_stream: H2Stream) -> None:
            handed_over.set()

        context = client_context(trust=FLEET.trust, credentials=credentials)
        try:
            stream = await open_tls(HOST, self.port, context, server_hostname=GATE.dns_name or "")
            connection = Connection(stream, client_side=False, windows=TUNNEL, accept=take)
            self.nursery.start_soon(connection.run)
            await connection.wait_up()
        except (LinkLostError, LinkRefusedError):
            assert len(self.upstreams) == 0
            return False
        async with self.upstreams.place() as up:
            passage = up.create_stream()
            await passage.send_request(passage_headers())
            await handed_over.wait()
            passage.close()
        connection.close_now()
        return True


@asynccontextmanager
async def listening(state: Path) -> AsyncIterator[Listening]:
    membership = joined(open_state_directory(state), Role.RELAY, "gate").membership(now=utc_now())
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            upstreams = Upstreams()
            serve = functools.partial(serve_tunnel, upstreams, standing=Standing(membership), host=HOST, port=0)
            _, port = await nursery.start(serve)
            yield Listening(upstreams, port, nursery)
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("who", PRETENDERS)
async def test_a27_nobody_but_helm_is_handed_a_passage(tmp_path: Path, who: str) -> None:
    async with listening(tmp_path) as beacon:
        assert not await beacon.takes_for_helm(PRETENDERS[who])
        assert await beacon.takes_for_helm(FLEET.member(Role.CONTROLLER))


async def test_a27_turns_red_without_the_role(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TLS alone takes whatever the Fleet CA signed for a client."""
    monkeypatch.setattr(Standing, "admit", lambda _standing, _policy, _certificate: None)
    for name, who in enumerate(["another beacon, as a client", "a node, as a client"]):
        async with listening(tmp_path / str(name)) as beacon:
            assert await beacon.takes_for_helm(PRETENDERS[who])
    async with listening(tmp_path / "usage") as beacon:
        assert not await beacon.takes_for_helm(PRETENDERS["another beacon"])


async def test_a27_turns_red_without_either_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Standing, "admit", lambda _standing, _policy, _certificate: None)
    proper = Standing.context

    def believing_all(standing: Standing, policy: ListenerPolicy) -> ssl.SSLContext:
        context = proper(standing, policy)
        context.verify_mode = ssl.CERT_NONE
        return context

    monkeypatch.setattr(Standing, "context", believing_all)
    async with listening(tmp_path) as beacon:
        assert await beacon.takes_for_helm(PRETENDERS["another beacon"])
