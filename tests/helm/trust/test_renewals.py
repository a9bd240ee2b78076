"""Certificates for life: asked for in time, granted to whom they belong, and never twice."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import attrs
import pytest
import trio
import trio.testing

from pharos.helm.fleet import wake
from pharos.helm.fleet.wake import Wakes
from pharos.helm.store.certificates import certificates_of
from pharos.helm.store.fleet import get_fleet
from pharos.helm.store.nodes import NODES
from pharos.helm.store.records import get_record
from pharos.helm.trust import renewals
from pharos.helm.trust.renewals import due, jitter_of, renew_node, run_own_renewal, wants_renewal
from pharos.wire.errors import PeerRejectedError, RemoteProtocolError
from pharos.wire.gen.pharos.buoy.v1 import control_pb2 as pb
from pharos.wire.pki.csr import make_csr
from pharos.wire.pki.keys import certificate_from_der, certificate_to_der, generate_key
from pharos.wire.pki.renewal import RENEW_AT, SPREAD
from pharos.wire.pki.roles import Role
from pharos.wire.pki.verify import authorize_peer
from tests.support.helm import adopt_sample_node, fleet_in_memory, node_request, now, open_helm

YEAR = datetime.timedelta(days=365)


class Node:
    """A node's end of a renewal."""

    def __init__(self, *, loses_the_answer: bool = False) -> None:
        self.key = generate_key()
        self.certificate = b""
        self.loses_the_answer = loses_the_answer

    async def Renew(self, _request: pb.RenewRequest, **_: object) -> pb.RenewReply:
        return pb.RenewReply(csr=make_csr(self.key))

    async def Install(self, request: pb.InstallRequest, **_: object) -> pb.InstallReply:
        if self.loses_the_answer:
            raise trio.BrokenResourceError
        self.certificate = request.certificate
        return pb.InstallReply(certificate_fingerprint=fingerprint(request.certificate))


def fingerprint(certificate: bytes) -> bytes:
    return hashlib.sha256(certificate).digest()


def test_certificate_is_due_after_two_thirds_of_its_life_and_its_own_share_of_a_twentieth() -> None:
    with fleet_in_memory() as (db, authority):
        shares = set()
        for name in ("a", "b", "c"):
            _, grant = adopt_sample_node(db, authority, name, request=node_request())
            certificate = certificate_from_der(grant.certificate)
            share = jitter_of(certificate)
            assert 0 <= share < 1
            begin = certificate.not_valid_before_utc
            when = begin + (certificate.not_valid_after_utc - begin) * (RENEW_AT + SPREAD * share)
            second = datetime.timedelta(seconds=1)
            assert (due(certificate, when - second), due(certificate, when + second)) == (False, True)
            shares.add(share)
        assert len(shares) == 3


def test_node_that_never_installed_its_certificate_is_asked_again() -> None:
    with fleet_in_memory() as (db, authority):
        node, _ = adopt_sample_node(db, authority)
        newest = fingerprint(node.certificate).hex()
        for shown, wants in ((newest, False), ("", False), ("00" * 32, True)):
            assert wants_renewal(authority, Role.NODE, node.certificate, shown=shown, now=now()) is wants
        later = now() + 0.8 * YEAR
        assert wants_renewal(authority, Role.NODE, node.certificate, shown=newest, now=later)


async def test_node_gets_a_certificate_for_its_fresh_key_and_the_same_again_if_it_was_lost(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm:
        store, authorities = helm.store, helm.context.authorities
        node, _ = await store.run(adopt_sample_node, helm.authority)
        shown, machine = fingerprint(node.certificate).hex(), Node(loses_the_answer=True)
        renew = cast("Callable[..., Awaitable[str]]", renew_node)
        with pytest.raises(trio.BrokenResourceError):
            await renew(machine, node, store, authorities, shown=shown)
        issued = (await store.read(get_record, NODES, node.id)).certificate
        assert issued != node.certificate
        machine.loses_the_answer = False
        assert await renew(machine, node, store, authorities, shown=shown) == fingerprint(issued).hex()
        assert machine.certificate == issued
        authorize_peer(issued, trust=helm.authority.trust, roles={Role.NODE}, peer_id=node.id, now=now())
        states = [known.state.value for known in await store.read(certificates_of, node.id)]
        assert sorted(states) == ["active", "superseded"]


async def test_node_whose_certificate_ended_is_not_renewed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_helm(tmp_path) as helm:
        node, _ = await helm.store.run(adopt_sample_node, helm.authority)
        later = int((now() + 2 * YEAR).timestamp() * 1e6)
        monkeypatch.setattr(renewals, "now_us", lambda: later)
        renew = cast("Callable[..., Awaitable[str]]", renew_node)
        with pytest.raises(PeerRejectedError):
            await renew(Node(), node, helm.store, helm.context.authorities)


async def test_node_does_not_get_away_with_its_old_key(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm:
        machine: Any = Node()
        request = node_request()
        request = attrs.evolve(request, csr=make_csr(machine.key))
        node, _ = await helm.store.run(lambda db: adopt_sample_node(db, helm.authority, request=request))
        with pytest.raises(RemoteProtocolError):
            await renew_node(machine, node, helm.store, helm.context.authorities)


async def test_helm_renews_its_own_certificate_with_a_new_key(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_helm(tmp_path) as helm:
        authorities, before = helm.context.authorities, helm.authority
        begun = now().timestamp()
        start = trio.current_time()
        monkeypatch.setattr(renewals, "now_us", lambda: int((begun + trio.current_time() - start) * 1e6))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_own_renewal, helm.store, authorities, helm.vault, Wakes())
            await authorities.wait_changed(0)
            nursery.cancel_scope.cancel()
        assert 0.66 * YEAR.total_seconds() < trio.current_time() - start < 0.72 * YEAR.total_seconds()
        after = authorities.current
        assert after.controller.certificate.public_key() != before.controller.certificate.public_key()
        assert after.controller.certificate.public_key() == after.controller.key.public_key()
        assert (await helm.store.read(get_fleet)).controller == certificate_to_der(after.controller.certificate)
        states = [known.state.value for known in await helm.store.read(certificates_of, before.controller_id)]
        assert sorted(states) == ["active", "superseded"]


async def test_helm_renews_at_the_wake_what_became_due_while_it_slept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wake, "LOOK_EVERY", 0.01)
    async with open_helm(tmp_path) as helm, trio.open_nursery() as nursery:
        authorities, wakes, slept = helm.context.authorities, Wakes(), 0.0
        monkeypatch.setattr(renewals, "now_us", lambda: int((now().timestamp() + slept) * 1e6))
        nursery.start_soon(run_own_renewal, helm.store, authorities, helm.vault, wakes)
        nursery.start_soon(wakes.run, lambda: slept)
        # It has just looked, and would look again in an hour.
        await trio.testing.wait_all_tasks_blocked(0.005)
        slept = 0.75 * YEAR.total_seconds()
        with trio.fail_after(20):
            await authorities.wait_changed(0)
        nursery.cancel_scope.cancel()
