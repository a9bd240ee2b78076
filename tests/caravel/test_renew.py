"""A device's certificate: asked for in time, and kept only if it is the device's own."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import attrs
import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from pharos.caravel import renew as module
from pharos.caravel.profiles.store import ProfileStore
from pharos.caravel.renew import renew, wants_renewal
from pharos.wire.gen.pharos.account.v1 import account_pb2 as pb
from pharos.wire.ids import DeviceId
from pharos.wire.pki.keys import certificate_to_der, generate_key, key_to_der
from pharos.wire.pki.roles import Role
from pharos.wire.pki.rotation import Subject
from tests.support.device import certified, enrolled_device
from tests.support.helm import fleet_in_memory, now
from tests.support.rotating import rotating_fleet


class Helm:
    """What answers a renewal, one way or another."""

    def __init__(self, certificate: bytes | None) -> None:
        self.certificate = certificate
        self.asked: list[bytes] = []

    async def Renew(self, request: pb.RenewRequest, **_: object) -> pb.RenewReply:
        self.asked.append(request.csr)
        if self.certificate is None:
            raise GRPCError(Status.PERMISSION_DENIED, "no")
        return pb.RenewReply(certificate=self.certificate)


async def ask(helm: Helm, store: ProfileStore) -> bool:
    account: Any = helm
    return await renew(account, store)


async def test_nobody_is_asked_before_it_is_time(tmp_path: Path) -> None:
    with fleet_in_memory() as (_, authority):
        store, helm = enrolled_device(tmp_path, authority), Helm(None)
        assert not await ask(helm, store)
        assert helm.asked == []
        enrolled = store.enrolled()
        manifest = enrolled.verified_manifest(now())
        assert wants_renewal(enrolled, manifest, now=now() + datetime.timedelta(days=270))


async def test_certificate_of_ones_own_is_kept_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "wants_renewal", lambda *_, **__: True)
    with fleet_in_memory() as (_, authority), fleet_in_memory(1) as (_, stranger):
        store = enrolled_device(tmp_path, authority)
        before = store.enrolled()
        tls = before.secrets.tls
        for wrong in (
            certified(authority, key_to_der(generate_key())),
            certified(authority, tls, DeviceId("another-device")),
            certified(stranger, tls),
            certificate_to_der(authority.controller.certificate),
            b"",
            None,
        ):
            assert not await ask(Helm(wrong), store)
            assert store.enrolled().certificate == before.certificate
        assert not await ask(Helm(before.certificate), store), "it is the same"
        right = certified(authority, tls)
        helm = Helm(right)
        assert await ask(helm, store)
        assert len(helm.asked) == 1
        assert ProfileStore(tmp_path).enrolled().certificate == right


def test_device_asks_when_its_authority_has_a_successor(tmp_path: Path) -> None:
    with rotating_fleet() as fleet:
        store = enrolled_device(tmp_path, fleet.authority)
        old = store.enrolled()
        fleet.begin(Subject.DEVICE_CA)
        manifest = fleet.believed(attrs.evolve(fleet.members[Role.DEVICE], manifest=fleet.authority.manifest))
        assert wants_renewal(old, manifest, now=now())
        assert not wants_renewal(old, old.verified_manifest(now()), now=now())
