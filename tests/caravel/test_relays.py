"""Which relay a device takes: the first that answers and admits it; one that does not keeps it from no other."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio

from pharos.caravel.errors import NoAnswerError
from pharos.caravel.reach import Reach
from pharos.caravel.relays import open_as_member
from pharos.helm.ca.authority import Authority
from pharos.wire.errors import LinkLostError, LinkRefusedError
from pharos.wire.ids import RelayId
from pharos.wire.pki.csr import make_csr
from pharos.wire.pki.keys import generate_key
from pharos.wire.pki.roles import INGRESS
from pharos.wire.pki.tls import Credentials, server_context
from pharos.wire.rpc.client import Channel
from pharos.wire.rpc.server import Service, serve_connection, turn_away
from pharos.wire.rpc.transport import SecureStream, StreamHandler, serve_tls
from pharos.wire.seal.ticket import BeaconAddress
from tests.support.device import enrolled_device
from tests.support.fates import meets
from tests.support.helm import fleet_in_memory, now, relay_request


async def admits(stream: SecureStream) -> None:
    await serve_connection(stream, Service([]))


async def closes(stream: SecureStream) -> None:
    """Go away without a word, as a relay that breaks does."""


@asynccontextmanager
async def itself(channel: Channel) -> AsyncIterator[Channel]:
    """Open nothing over a channel."""
    yield channel


class Relays:
    """Relays of a fleet on loopback."""

    def __init__(self, authority: Authority, nursery: trio.Nursery) -> None:
        self._authority = authority
        self._nursery = nursery
        self.addresses: list[BeaconAddress] = []
        self.met: list[RelayId] = []
        """Whom the device has met, in that order."""

    async def add(self, handler: StreamHandler) -> None:
        relay_id, key = RelayId(f"relay-{len(self.addresses)}"), generate_key()
        request = attrs.evolve(relay_request(), csr=make_csr(key))
        certificate = self._authority.certify_agent(request, relay_id, operator="tests", now=now())
        context = server_context(
            Credentials(certificate=certificate, key=key), trust=self._authority.trust, policy=INGRESS
        )

        async def handle(stream: SecureStream) -> None:
            self.met.append(relay_id)
            await handler(stream)

        async def serve(task_status: trio.TaskStatus[tuple[str, int]]) -> None:
            await serve_tls(handle, host="127.0.0.1", port=0, context=context, task_status=task_status)

        _, port = await self._nursery.start(serve)
        self.addresses.append(BeaconAddress(relay=relay_id, host="127.0.0.1", port=port))


@asynccontextmanager
async def dialled(folder: Path, *handlers: StreamHandler) -> AsyncIterator[Relays]:
    """Run relays that do so while a device holds a channel through one of them."""
    with fleet_in_memory() as (_, authority), trio.fail_after(30):
        enrolled = enrolled_device(folder, authority).enrolled()
        async with trio.open_nursery() as nursery:
            relays = Relays(authority, nursery)
            for handler in handlers:
                await relays.add(handler)
            manifest = enrolled.verified_manifest(now())
            async with open_as_member(
                relays.addresses, enrolled=enrolled, manifest=manifest, use=itself, reach=Reach(random=lambda: 0.5)
            ):
                yield relays
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("first", [turn_away, closes], ids=["does not admit it", "breaks off"])
async def test_relay_that_lets_nobody_in_costs_a_device_no_other(tmp_path: Path, first: StreamHandler) -> None:
    async with dialled(tmp_path, first, admits, admits) as relays:
        assert relays.met == ["relay-0", "relay-1"]


async def test_device_that_no_relay_admits_is_told_so(tmp_path: Path) -> None:
    with meets(LinkRefusedError, match="does not admit"):
        async with dialled(tmp_path, closes, turn_away, closes):
            pytest.fail("somebody took it")


async def test_device_that_nobody_answers_hears_why_of_each(tmp_path: Path) -> None:
    with meets(NoAnswerError, match=r"127\.0\.0\.1:[0-9]+: .*; 127\.0\.0\.1:"):
        async with dialled(tmp_path, closes, closes):
            pytest.fail("somebody took it")


ALERT = bytes.fromhex("15030300020228")
"""handshake_failure, fatal (RFC 8446 §6): whoever is on the way can send it, and no relay has to be there."""


async def test_alert_of_whoever_is_on_the_way_is_no_refusal_of_the_fleets(tmp_path: Path) -> None:
    async def refuse(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(ALERT)

    with fleet_in_memory() as (_, authority), trio.fail_after(30):
        enrolled = enrolled_device(tmp_path, authority).enrolled()
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(functools.partial(trio.serve_tcp, refuse, 0, host="127.0.0.1"))
            port = listeners[0].socket.getsockname()[1]
            beacon = BeaconAddress(relay=RelayId("relay-0"), host="127.0.0.1", port=port)
            manifest = enrolled.verified_manifest(now())
            with pytest.raises(LinkLostError, match="refused us"):
                async with open_as_member([beacon], enrolled=enrolled, manifest=manifest, use=itself):
                    pytest.fail("somebody took it")
            # Beside a relay that takes the device, it costs nothing.
            relays = Relays(authority, nursery)
            await relays.add(admits)
            both = [beacon, *(attrs.evolve(one, relay=RelayId("relay-0")) for one in relays.addresses)]
            async with open_as_member(both, enrolled=enrolled, manifest=manifest, use=itself) as (taken, _):
                assert taken == both[1]
            nursery.cancel_scope.cancel()
