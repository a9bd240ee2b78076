"""Which relay a device takes: the first that answers and admits it; one that does not keeps it from no other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio

from pharos.caravel.errors import NoAnswerError
from pharos.caravel.relays import open_member_channel
from pharos.helm.ca.authority import Authority
from pharos.wire.errors import LinkRefusedError
from pharos.wire.ids import RelayId
from pharos.wire.pki.csr import make_csr
from pharos.wire.pki.keys import generate_key
from pharos.wire.pki.roles import INGRESS
from pharos.wire.pki.tls import Credentials, server_context
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
            async with open_member_channel(enrolled, manifest, relays.addresses):
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
