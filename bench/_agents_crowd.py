"""The worker of bench.agents that is two thousand devices at a beacon: a certificate, a connection, a passage each.

    python -m bench._agents_crowd crowd FOLDER

A worker (bench.support).
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import trio
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from grpclib.events import SendRequest, listen

from bench._agents_state import RELAY
from bench._rpc_ours import say
from bench._wire_device import echo
from bench._wire_fleet import HELM_KEY, answer_requests, dial, now, trust
from bench.support import percentile, raise_file_limit
from pharos.wire.daemon import tune_collector
from pharos.wire.noise.keys import KeyPair
from pharos.wire.passage.client import open_passage
from pharos.wire.passage.metadata import FINGERPRINT_HEADER, Purpose
from pharos.wire.pki.issue import issue
from pharos.wire.pki.keys import generate_key, key_from_der
from pharos.wire.pki.policy import authorize_issue
from pharos.wire.pki.roles import Identity, Role
from pharos.wire.pki.tls import Credentials, client_context
from pharos.wire.rpc.client import open_channel
from pharos.wire.rpc.flow import EDGE
from tests.support.gen.pharos_test.v1.echo_grpc import EchoStub
from tests.support.pki import ground_for

CA_KEY: Final = "device_ca.der"
"""Of the fleet's device authority, for certificates that are not helm's to make here."""
_AT_ONCE: Final = 4
"""Fewer than a listener lets one address have that have not proven themselves."""


class Crowd:
    """Devices that were never enrolled; they have one TLS key together, which nobody minds."""

    def __init__(self, folder: Path) -> None:
        self._ca_key = key_from_der((folder / CA_KEY).read_bytes())
        self._key: ec.EllipticCurvePrivateKey = generate_key()
        self._opened = 0

    def _credentials(self, number: int) -> Credentials:
        ca = trust().device_ca
        assert ca is not None
        identity = Identity(fleet=trust().fleet, role=Role.DEVICE, id=f"crowd-{number}")
        certificate = issue(
            authorize_issue(identity, ground_for(identity)),
            self._key.public_key(),
            ca=ca,
            ca_key=self._ca_key,
            now=now(),
            serial=x509.random_serial_number(),
        )
        return Credentials(certificate=certificate, key=self._key)

    @asynccontextmanager
    async def passage(self, port: int, to: str = RELAY) -> AsyncIterator[EchoStub]:
        """Have a passage of a device that nobody else is, through the relay or straight to helm's own port."""
        number, self._opened = self._opened, self._opened + 1
        context = client_context(trust=trust(), credentials=self._credentials(number))
        stream = await dial(to, port, by="device", context=context)
        async with AsyncExitStack() as stack:
            channel = await stack.enter_async_context(open_channel(stream, windows=EDGE, authority="helm"))
            if to != RELAY:
                listen(channel, SendRequest, _vouch)
            opened = open_passage(
                channel,
                purpose=Purpose.DEVICE,
                fleet=trust().fleet,
                helm_key=HELM_KEY.public,
                static=KeyPair.from_private_bytes(hashlib.sha256(b"%d" % number).digest()),
            )
            passage = await stack.enter_async_context(opened)
            yield EchoStub(await stack.enter_async_context(passage.channel()))

    async def hold(self, port: int, limiter: trio.CapacityLimiter, *, task_status: trio.TaskStatus[None]) -> None:
        """Keep one passage open, ready to be used."""
        async with AsyncExitStack() as stack:
            async with limiter:
                await stack.enter_async_context(self.passage(port))
            task_status.started()
            await trio.sleep_forever()


async def _vouch(event: SendRequest) -> None:
    """Say what a relay would say of us; the helm of a bench believes anybody."""
    event.metadata[FINGERPRINT_HEADER] = "0" * 64


async def main(folder: str) -> None:
    raise_file_limit()
    tune_collector()
    crowd = Crowd(Path(folder))
    async with trio.open_nursery() as nursery, AsyncExitStack() as stack:
        stubs: dict[int, EchoStub] = {}

        async def passages(*, port: int, count: int) -> dict[str, Any]:
            """Open so many more."""
            limiter = trio.CapacityLimiter(_AT_ONCE)
            async with trio.open_nursery() as starting:
                for _ in range(count):
                    starting.start_soon(nursery.start, crowd.hold, port, limiter)
            return {}

        async def round_trip(*, port: int, to: str, calls: int) -> dict[str, Any]:
            """Call helm in a passage, kept for the next time."""
            if port not in stubs:
                stubs[port] = await stack.enter_async_context(crowd.passage(port, to))
            return {"p50": percentile(await echo(stubs[port], calls), 50)}

        say(ready=True)
        await answer_requests({"passages": passages, "round_trip": round_trip})
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main, sys.argv[2])
