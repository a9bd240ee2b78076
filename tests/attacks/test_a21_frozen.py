"""Row 21. Position: a beacon. Wants: a device to stay with the profile that it has, and think it the newest.

Countermeasure: helm signs its answer over the device's own nonce, so that no answer serves twice. Silence is all that
is left to a beacon, and it costs the device no connection: it goes by what it keeps, however old that is. After seven
days without a signed answer it shows that its profile may be stale.
"""

from __future__ import annotations

import datetime
import json
import os
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
import trio
from click.testing import CliRunner
from grpclib.server import Stream

from pharos.caravel import client as clients
from pharos.caravel.cli import main
from pharos.caravel.client import open_client
from pharos.caravel.enrolment import enroll
from pharos.caravel.errors import NoAnswerError
from pharos.caravel.profiles import store as stores
from pharos.caravel.profiles.store import ProfileStore
from pharos.caravel.sync import kept_order, sync
from pharos.caravel.tunnel.amnezia import pairing_of
from pharos.demo.processes import free_port
from pharos.helm.profiles.seal import current_bundle
from pharos.helm.store.devices import get_device
from pharos.wire.agent import AgentRequest
from pharos.wire.awg.config import PeerConfig
from pharos.wire.awg.device import Device
from pharos.wire.awg.echo import EchoEnd
from pharos.wire.awg.tunnel import open_tunnel
from pharos.wire.errors import BundleError, BundleSignatureError
from pharos.wire.gen.pharos.account.v1 import account_grpc
from pharos.wire.gen.pharos.account.v1 import account_pb2 as pb
from pharos.wire.noise.keys import KeyPair
from pharos.wire.passage.accepted import AcceptedPassage, DeviceRecord
from pharos.wire.pki.csr import make_csr
from pharos.wire.pki.keys import generate_key
from pharos.wire.pki.roles import Role
from pharos.wire.rpc.server import Service
from pharos.wire.seal.blind import derive_psk
from pharos.wire.seal.freshness import NONCE_LENGTH, sign_freshness
from tests.attacks.test_a17_another_fingerprint import fingerprint_of
from tests.support.evilbeacon import HOST, PlaysHelm, RelayFleet, cut_at, fleet_behind
from tests.support.frameforward import Edit
from tests.support.helm import adopt_sample_node, sample_act

# -- the answer of yesterday


class Repeats(account_grpc.AccountBase):
    """Answers each sync with the same words."""

    def __init__(self, reply: pb.SyncReply) -> None:
        self._reply = reply

    async def Sync(self, stream: Stream[pb.SyncRequest, pb.SyncReply]) -> None:
        await stream.recv_message()
        await stream.send_message(self._reply)

    async def Renew(self, stream: Stream[pb.RenewRequest, pb.RenewReply]) -> None:
        await stream.recv_message()


def answer_as_yesterday(fleet: RelayFleet, store: ProfileStore, *, nonce: bytes) -> None:
    """Have the beacon answer what helm once said to this device: it has helm's Noise key, and no key that signs."""
    authority, (epoch, revision) = fleet.helm.authority, kept_order(store)
    reply = pb.SyncReply(
        epoch=epoch,
        revision=revision,
        freshness=sign_freshness(nonce, epoch=epoch, revision=revision, signing_key=authority.signing),
    )

    def serve(_passage: AcceptedPassage) -> Service:
        return Service([Repeats(reply)])

    device = DeviceRecord(id=store.enrolled().device_id, fingerprints=frozenset({fingerprint_of(store)}))
    plays = PlaysHelm(serve, fleet=authority.trust.fleet, key=authority.noise, device=device)
    fleet.evil.handle = plays.terminate


async def newest_order(fleet: RelayFleet, store: ProfileStore) -> tuple[int, int]:
    authority, device_id = fleet.helm.authority, store.enrolled().device_id
    bundle = await fleet.helm.store.run(
        lambda db: current_bundle(db, authority, get_device(db, device_id), at=sample_act().at)
    )
    return bundle.epoch, bundle.revision


async def test_a21_yesterdays_answer_is_refused(tmp_path: Path) -> None:
    async with fleet_behind(tmp_path) as fleet:
        store = await fleet.enrol()
        await fleet.add_node("amsterdam")
        for nonce in (bytes(NONCE_LENGTH), os.urandom(NONCE_LENGTH), b""):
            answer_as_yesterday(fleet, store, nonce=nonce)
            with pytest.raises(BundleSignatureError):
                await sync(store)
        fleet.evil.handle = fleet.evil.forward
        assert (await sync(store)).changed


async def test_a21_turns_red_where_freshness_is_not_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "pharos.caravel.sync.verify_freshness", lambda _signature, *, epoch, revision, **_context: (epoch, revision)
    )
    async with fleet_behind(tmp_path) as fleet:
        store = await fleet.enrol()
        await fleet.add_node("amsterdam")
        answer_as_yesterday(fleet, store, nonce=bytes(NONCE_LENGTH))
        outcome = await sync(store)
        assert not outcome.changed, "the device is content"
        assert await newest_order(fleet, store) > kept_order(store)


async def test_a21_frames_of_yesterday_are_no_answer(tmp_path: Path) -> None:
    """What a beacon really has is what it saw: frames of a session that is over."""
    async with fleet_behind(tmp_path) as fleet:
        store = await fleet.enrol()
        await sync(store)
        old = fleet.evil.seen[-1].down
        await fleet.add_node("amsterdam")

        def replay() -> Edit:
            return lambda number, _frame: [old[number]] if number < len(old) else [None]

        fleet.evil.edit_down = replay
        with pytest.raises((NoAnswerError, BundleError)):
            await sync(store)
        assert await newest_order(fleet, store) > kept_order(store)


# -- silence


@asynccontextmanager
async def fleet_with_a_node(folder: Path) -> AsyncIterator[tuple[RelayFleet, ProfileStore]]:
    """A device that has enrolled, and one node which serves it, as it goes on to do whatever becomes of the beacon."""
    awg, derive, port = KeyPair.generate(), KeyPair.generate(), free_port(socket.SOCK_DGRAM)
    request = AgentRequest(role=Role.NODE, csr=make_csr(generate_key()), awg_key=awg.public, derive_key=derive.public)
    async with fleet_behind(folder) as fleet:
        authority = fleet.helm.authority
        await fleet.helm.store.run(lambda db: adopt_sample_node(db, authority, request=request, awg_port=port))
        store = fleet.device("laptop")
        secrets = (await enroll(store, await fleet.invite())).secrets
        async with open_client(store.path) as client:
            profile = client.profile()
        (node,) = profile.nodes
        engine = Device(
            private_key=awg.private_bytes(),
            random=os.urandom,
            wall_clock=time.time_ns,
            parameters=node.amneziawg[0].parameters,
        )
        peer = PeerConfig(
            public_key=secrets.awg.public,
            preshared_key=derive_psk(pairing_of(profile, node, secrets, node.generation), derive),
            allowed_ips=tuple(ip_network(address) for address in profile.addresses),
        )
        engine.set_peer(peer, trio.current_time())
        inner = EchoEnd([ip_address(address) for address in node.addresses])
        async with open_tunnel(engine, inner, host=HOST, port=port):
            yield fleet, store


async def connects(store: ProfileStore) -> bool:
    async with open_client(store.path) as client, client.connect() as tunnel:
        await tunnel.wait_up(10)
        return (await tunnel.ping(1)).received == 1


def pass_days(monkeypatch: pytest.MonkeyPatch, days: float) -> None:
    """Let the device's clock be so many days ahead."""
    moment = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
    monkeypatch.setattr(clients, "utc_now", lambda: moment)


async def test_a21_device_that_nobody_answers_connects_with_what_it_keeps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with fleet_with_a_node(tmp_path) as (fleet, store):
        # The handshake alone goes through: whatever helm says then is kept from the device.
        fleet.evil.edit_down = cut_at(100)
        for days in (0, 8, 300):
            pass_days(monkeypatch, days)
            with pytest.raises(NoAnswerError):
                await sync(store)
            assert await connects(store), f"after {days} days"


async def test_a21_turns_red_where_an_old_profile_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then a beacon that is silent for a week has cut the device off."""
    kept = ProfileStore.profile

    def fresh_only(store: ProfileStore, now: datetime.datetime) -> object:
        profile = kept(store, now)
        age = now - datetime.datetime.now(datetime.UTC)
        if age > datetime.timedelta(days=7):
            raise NoAnswerError("the profile is stale")
        return profile

    monkeypatch.setattr(ProfileStore, "profile", fresh_only)
    async with fleet_with_a_node(tmp_path) as (fleet, store):
        fleet.evil.edit_down = cut_at(100)
        assert await connects(store)
        pass_days(monkeypatch, 8)
        with pytest.raises(NoAnswerError, match="stale"):
            await connects(store)


# -- what is shown


async def shown(store: ProfileStore, *command: str) -> tuple[dict[str, object], str]:
    arguments = [*command, "--json", "--state", str(store.path)]
    result = await trio.to_thread.run_sync(CliRunner().invoke, main, arguments)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout), result.stderr


@pytest.mark.red_inside
async def test_a21_device_shows_that_helm_was_not_heard_for_a_week(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with fleet_with_a_node(tmp_path) as (fleet, store):
        await sync(store)
        honest, fleet.evil.edit_down = fleet.evil.edit_down, cut_at(100)
        heard_at = store.heard_at()
        assert heard_at is not None
        for days, stale in ((6.9, False), (7.1, True)):
            store.save_heard(heard_at - datetime.timedelta(days=days))
            for command in (("status",), ("profiles", "--no-sync")):
                facts, warning = await shown(store, *command)
                assert facts["stale"] is stale
                assert ("somebody keeps a newer one from us" in warning) is stale
        # What the beacon lets through of helm's is no answer, and does not make it fresh.
        with pytest.raises(NoAnswerError):
            await sync(store)
        assert store.is_stale(datetime.datetime.now(datetime.UTC))
        fleet.evil.edit_down = honest
        await sync(store)
        assert (await shown(store, "status"))[0]["stale"] is False
        # Red: a device that takes silence for an answer is never stale.
        monkeypatch.setattr(stores, "STALE_AFTER", datetime.timedelta.max)
        store.save_heard(heard_at - datetime.timedelta(days=300))
        assert (await shown(store, "status"))[0]["stale"] is False
