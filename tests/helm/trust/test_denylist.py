"""The signed list: one signature for each version and key, however many ask."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest
import trio
from nacl.signing import SigningKey

from pharos.helm.trust import denylist
from pharos.helm.trust.denylist import NO_DENY_LIST, current_deny_list
from pharos.wire.pki.roles import Role
from pharos.wire.seal.denylist import sign_deny_list, verify_deny_list
from tests.support.helm import enrol_sample_device, open_helm, revoke_sample_device


async def test_hundred_who_ask_at_once_cost_one_signature(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    signed: list[int] = []

    def sign(*args: object, **kwargs: object) -> bytes:
        signed.append(1)
        return sign_deny_list(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(denylist, "sign_deny_list", sign)
    async with open_helm(tmp_path) as helm:
        authorities = helm.context.authorities
        assert await current_deny_list(helm.store, authorities) == NO_DENY_LIST
        device = await helm.store.run(enrol_sample_device, 1)
        await helm.store.run(revoke_sample_device, device.id)
        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(current_deny_list, helm.store, authorities)
        newest = await current_deny_list(helm.store, authorities)
        assert len(signed) == 1
        fleet, keys = helm.authority.trust.fleet, helm.authority.verify_keys
        denied = verify_deny_list(newest.blob, fleet=fleet, signing_keys=keys)
        assert denied.order == newest.order
        assert denied.denies_member(Role.DEVICE, device.id)
        # A commit that changes nothing about it costs no signature either.
        await helm.store.run(enrol_sample_device, 2)
        assert await current_deny_list(helm.store, authorities) is newest
        assert len(signed) == 1


async def test_list_is_signed_anew_when_the_signing_key_is_another(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm:
        authorities = helm.context.authorities
        device = await helm.store.run(enrol_sample_device, 1)
        await helm.store.run(revoke_sample_device, device.id)
        before = await current_deny_list(helm.store, authorities)
        other = SigningKey.generate()
        authorities.replace(attrs.evolve(helm.authority, signing=other))
        after = await current_deny_list(helm.store, authorities)
        assert after.order == before.order
        verify_deny_list(after.blob, fleet=helm.authority.trust.fleet, signing_keys=[bytes(other.verify_key)])
