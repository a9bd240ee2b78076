"""What a device keeps of helm's answer: never an older deny list, and a list of another fleet costs no profile."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from nacl.signing import SigningKey

from pharos.caravel.profiles.denied import Denied
from pharos.caravel.profiles.store import ProfileStore
from pharos.caravel.sync import Answer
from pharos.helm.ca.authority import Authority
from pharos.wire.gen.pharos.account.v1 import account_pb2 as pb
from pharos.wire.ids import FleetId
from pharos.wire.pki.denylist import DenyEntry, DenyList
from pharos.wire.pki.roles import Identity, Role
from pharos.wire.seal.denylist import sign_deny_list
from pharos.wire.seal.envelope import seal_bundle
from pharos.wire.seal.freshness import NONCE_LENGTH, sign_freshness
from tests.support.device import DEVICE, enrolled_device
from tests.support.helm import fleet_in_memory, now

NONCE = bytes(NONCE_LENGTH)
PROFILE = b'{"v":1,"fleet":"%b","device":"a-device","addresses":[],"nodes":[],"relays":[]}'


def deny_list(authority: Authority, *nodes: str, version: int, **changes: Any) -> bytes:
    fleet: FleetId = changes.get("fleet", authority.trust.fleet)
    entries = [
        DenyEntry(member=Identity(fleet=fleet, role=Role.NODE, id=node), not_after=2**40) for node in sorted(nodes)
    ]
    made = DenyList(fleet=fleet, epoch=1, version=version, issued=3, entries=tuple(entries))
    return sign_deny_list(made, signing_key=changes.get("key", authority.signing))


def keep(store: ProfileStore, authority: Authority, denied: bytes, *, revision: int = 1) -> Denied:
    """Let the device hear of a bundle and a deny list; return whom it denies then."""
    enrolled, fleet = store.enrolled(), authority.trust.fleet
    held = store.bundle()
    bundle = seal_bundle(
        PROFILE % fleet.encode(),
        fleet=fleet,
        device=DEVICE,
        sealing_key=enrolled.secrets.sealing.public,
        epoch=1,
        revision=revision,
        issued=1,
        manifest_version=authority.manifest_version,
        signing_key=authority.signing,
    )
    reply = pb.SyncReply(
        bundle=bundle,
        freshness=sign_freshness(NONCE, epoch=1, revision=revision, signing_key=authority.signing),
        epoch=1,
        revision=revision,
        deny_list=denied,
    )
    order = (0, 0) if held is None else held[0]
    outcome = Answer(store=store, reply=reply, nonce=NONCE, order=order).keep()
    assert outcome.revision == revision
    return ProfileStore(store.path).denied()


def test_newest_list_is_kept_whatever_comes_after_it(tmp_path: Path) -> None:
    with fleet_in_memory() as (_, authority):
        store = enrolled_device(tmp_path, authority)
        assert keep(store, authority, b"") == Denied()
        assert keep(store, authority, deny_list(authority, "a", version=2), revision=2).nodes == {"a"}
        assert keep(store, authority, deny_list(authority, version=1), revision=3).nodes == {"a"}, "it is older"
        assert keep(store, authority, b"", revision=4).nodes == {"a"}
        denied = keep(store, authority, deny_list(authority, "a", "b", version=3), revision=5)
        assert (denied.order, set(denied.nodes)) == ((1, 3), {"a", "b"})
        assert store.profile(now()).nodes == ()


@pytest.mark.parametrize(
    "changes", [{"key": SigningKey.generate()}, {"fleet": FleetId("0" * 16)}], ids=["another key", "another fleet"]
)
def test_list_that_is_not_the_fleets_is_passed_over_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, changes: dict[str, Any]
) -> None:
    with fleet_in_memory() as (_, authority):
        store = enrolled_device(tmp_path, authority)
        wrong = deny_list(authority, "a", version=9, **changes)
        with caplog.at_level(logging.WARNING):
            assert keep(store, authority, wrong) == Denied()
            assert keep(store, authority, wrong[:-1], revision=2) == Denied()
        assert [record.getMessage().partition(":")[0] for record in caplog.records] == ["a deny list was refused"] * 2
        assert keep(store, authority, deny_list(authority, "b", version=1), revision=3).nodes == {"b"}
