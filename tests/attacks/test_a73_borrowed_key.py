"""Row 73. Position: whoever may enrol a device. Wants: another device's peer, by enrolling with its public key.

Countermeasures: the possession of each key is proven, by a MAC that holds in this passage only; and a key belongs to
one device, live or revoked, for whichever use.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest

from pharos.caravel.enrolment import enroll
from pharos.caravel.errors import HelmRefusedError
from pharos.caravel.profiles.store import DeviceSecrets, ProfileStore, generate_secrets
from pharos.caravel.sync import sync
from pharos.helm.accounts import newcomer
from pharos.helm.store import devices
from pharos.helm.store.devices import list_devices
from pharos.wire.ids import DeviceId
from pharos.wire.noise.keys import KeyPair
from tests.support.evilbeacon import RelayFleet, fleet_behind
from tests.support.helm import revoke_sample_device

USES = ("sealing", "derive", "noise", "awg")


def showing(public: bytes) -> KeyPair:
    """A key pair that shows a public key of which it does not hold the private half."""
    pair = KeyPair.generate()
    object.__setattr__(pair, "public", public)
    return pair


def with_key(use: str, pair: KeyPair) -> DeviceSecrets:
    """Fresh keys but for one."""
    changes: dict[str, Any] = {use: pair}
    return attrs.evolve(generate_secrets(), **changes)


async def enrol_with(fleet: RelayFleet, secrets: DeviceSecrets, name: str = "thief") -> ProfileStore:
    """Enrol a device with these keys, whether they fit together or not.

    Raises: HelmRefusedError.
    """
    store = fleet.device(name)
    store.secrets = lambda: secrets  # type: ignore[method-assign]
    await enroll(store, await fleet.invite(name))
    return store


async def device_names(fleet: RelayFleet) -> list[str]:
    return [device.name for device in await fleet.helm.store.read(list_devices)]


async def test_a73_public_key_without_its_private_half_is_refused(tmp_path: Path) -> None:
    async with fleet_behind(tmp_path) as fleet:
        victim = await fleet.enrol("victim")
        theirs = victim.enrolled().secrets
        for use in USES:
            with pytest.raises(HelmRefusedError, match=f"possession of the {use} key is not proven"):
                await enrol_with(fleet, with_key(use, showing(getattr(theirs, use).public)))
        assert await device_names(fleet) == ["victim"]
        await sync(victim)


async def test_a73_key_of_another_device_is_refused_for_whichever_use(tmp_path: Path) -> None:
    """Even to who holds the private half, say from a stolen backup; and when the other was revoked."""
    async with fleet_behind(tmp_path) as fleet:
        theirs = (await fleet.enrol("victim")).enrolled()
        tries = [(use, other) for use in USES for other in USES]
        for use, other in tries[:8]:
            with pytest.raises(HelmRefusedError, match="belongs to another device"):
                await enrol_with(fleet, with_key(use, getattr(theirs.secrets, other)))
        await fleet.helm.store.run(lambda db: revoke_sample_device(db, theirs.device_id))
        for use, other in tries[8:]:
            with pytest.raises(HelmRefusedError, match="belongs to another device"):
                await enrol_with(fleet, with_key(use, getattr(theirs.secrets, other)))
        assert await device_names(fleet) == ["victim"]


async def test_a73_turns_red_without_the_proof(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has seen a public key before helm did takes its place, and locks its owner out."""
    monkeypatch.setattr(newcomer, "verify_key", lambda public, _mac, **_context: public)
    async with fleet_behind(tmp_path) as fleet:
        victims = generate_secrets()
        await enrol_with(fleet, with_key("awg", showing(victims.awg.public)))
        with pytest.raises(HelmRefusedError, match="belongs to another device"):
            await enrol_with(fleet, victims, "victim")
        assert await device_names(fleet) == ["thief"]


async def test_a73_turns_red_where_a_key_may_have_two_owners(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The columns alone are unique: another's key in another use is two devices that share a secret."""
    monkeypatch.setattr(devices, "_OWNER_OF_KEY", "SELECT id FROM devices WHERE ?1 = ?2 AND ?3 <> ?4")
    async with fleet_behind(tmp_path) as fleet:
        theirs = (await fleet.enrol("victim")).enrolled()
        await enrol_with(fleet, with_key("awg", theirs.secrets.derive))
        assert await device_names(fleet) == ["victim", "thief"]
        known = {DeviceId(device.id): device for device in await fleet.helm.store.read(list_devices)}
        assert known[theirs.device_id].derive_key in {device.awg_key for device in known.values()}
