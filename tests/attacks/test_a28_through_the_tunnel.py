"""Row 28. Position: a beacon that helm dialled. Wants: what else runs on helm's machine, through the tunnel.

Countermeasure: a tunnel carries two services, passages and the beacon's own orders. There is no CONNECT, and no field
that names a target; every other method is UNIMPLEMENTED. (Teleport, GHSA-hw4x-mcx5-9q36, was SSRF that way.)
"""

from __future__ import annotations

import importlib
import pkgutil
import random
import string
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

import pharos.wire.gen
from pharos.helm.accounts.inner import Account
from pharos.helm.relay.edge import PassageEdge
from pharos.helm.relay.link import accept_relay
from pharos.wire.gen.pharos.relay.v1 import orders_pb2
from pharos.wire.ids import DeviceId, RelayId
from pharos.wire.rpc.flow import TUNNEL
from pharos.wire.rpc.h2conn import Connection
from pharos.wire.rpc.h2core import Accept
from pharos.wire.rpc.h2stream import H2Stream
from pharos.wire.rpc.server import Service
from tests.support.evilbeacon import fleet_behind
from tests.support.helm import SampleHelm, open_helm

UNIMPLEMENTED = "12"
SERVED = {"/pharos.relay.v1.Passage/Open", "/pharos.relay.v1.Orders/Follow"}
FUZZED = [
    *("/", "/pharos.relay.v1.Passage/", "/pharos.relay.v1.Passage/open", "/pharos.relay.v1.Passage/Open/"),
    *("/pharos.relay.v1.Orders/", "/pharos.relay.v1.Orders/Follow/..", "/pharos.relay.v1.Orders/../Account/Sync"),
    *("//pharos.relay.v1.Orders/Follow", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"),
    *("/api/v1/status", "/127.0.0.1:8440/", "/grpc.health.v1.Health/Check"),
]


def misspelt(count: int) -> Iterator[str]:
    """Paths that differ from one that is served in a character."""
    chance = random.Random(28)
    alphabet = string.ascii_letters + string.digits + "/.%?#;:@ -_"
    while count:
        served = chance.choice(sorted(SERVED))
        at = chance.randrange(len(served) + 1)
        path = served[:at] + chance.choice(("", *alphabet)) + served[at + chance.randrange(2) :]
        if path.startswith("/") and path not in SERVED:
            count -= 1
            yield path


def known_methods() -> Iterator[str]:
    """Every method of every service that anything of ours speaks."""
    for module in pkgutil.walk_packages(pharos.wire.gen.__path__, "pharos.wire.gen."):
        if module.name.endswith("_grpc"):
            loaded = importlib.import_module(module.name)
            for name in dir(loaded):
                if name.endswith("Base"):
                    yield from getattr(loaded, name).__mapping__(getattr(loaded, name))


@asynccontextmanager
async def beacon(helm: SampleHelm, accept: Accept) -> AsyncIterator[Connection]:
    relay_end, helm_end = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        mine = Connection(relay_end, client_side=True, windows=TUNNEL, keepalive=None)
        its = Connection(helm_end, client_side=False, windows=TUNNEL, accept=accept, keepalive=None)
        nursery.start_soon(mine.run)
        nursery.start_soon(its.run)
        with trio.fail_after(30):
            await mine.wait_up()
            yield mine
        nursery.cancel_scope.cancel()


async def answer_to(connection: Connection, path: str, method: str = "POST") -> dict[str, str]:
    stream = H2Stream(connection)
    headers = [(":method", method), (":authority", "127.0.0.1:8440")]
    if method != "CONNECT":
        # RFC 9113 §8.5: a CONNECT names nothing but its target.
        headers += [(":scheme", "https"), (":path", path)]
    await stream.send_request([*headers, ("content-type", "application/grpc"), ("te", "trailers")], end_stream=True)
    answer = dict(await stream.recv_headers())
    stream.close()
    return answer


def tunnel_of(helm: SampleHelm) -> Accept:
    return accept_relay(PassageEdge(helm.context), RelayId("relay-1"), lambda _change: None)


async def test_a28_every_method_but_the_tunnels_own_two_is_unimplemented(tmp_path: Path) -> None:
    paths = [*(path for path in known_methods() if path not in SERVED), *FUZZED, *misspelt(300)]
    assert len(paths) > 315
    async with open_helm(tmp_path) as helm, beacon(helm, tunnel_of(helm)) as connection:
        for path in paths:
            assert (await answer_to(connection, path)).get("grpc-status") == UNIMPLEMENTED, path


@pytest.mark.parametrize("method", ["GET", "CONNECT", "PUT"])
async def test_a28_nothing_but_a_call_is_taken(tmp_path: Path, method: str) -> None:
    async with open_helm(tmp_path) as helm, beacon(helm, tunnel_of(helm)) as connection:
        for path in SERVED:
            assert (await answer_to(connection, path, method))[":status"] == "405"


async def test_a28_turns_red_where_the_tunnel_carries_one_service_more(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm:
        weak = Service([Account(helm.context, DeviceId("a-device"))])
        async with beacon(helm, weak) as connection:
            answer = await answer_to(connection, "/pharos.account.v1.Account/Sync")
            assert answer.get("grpc-status") != UNIMPLEMENTED


def test_a28_orders_name_no_target() -> None:
    fields = {field.name for field in orders_pb2.Report.DESCRIPTOR.fields}
    assert not {name for name in fields if any(word in name for word in ("host", "port", "address", "url", "target"))}


async def test_a28_stolen_beacon_finds_nothing_else_behind_the_tunnel_that_helm_dialled(tmp_path: Path) -> None:
    """Over the sockets and TLS of a helm that dialled it."""
    async with fleet_behind(tmp_path) as fleet:
        for path in (
            "/pharos.account.v1.Account/Sync",
            "/api/v1/status",
            "/127.0.0.1:8440/",
            "/pharos.relay.v1.Orders/",
        ):
            assert (await answer_to(fleet.evil.upstream(), path)).get("grpc-status") == UNIMPLEMENTED, path
        assert (await answer_to(fleet.evil.upstream(), "/", "CONNECT"))[":status"] == "405"
        # It is a tunnel all the same.
        await fleet.enrol()
