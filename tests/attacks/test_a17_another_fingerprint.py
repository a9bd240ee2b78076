"""Row 17. Position: a beacon. Wants: a device to be taken for another, by naming the other's certificate.

Countermeasure: the fingerprint is a hint only. Noise_IK proves the device's own static key from end to end, and helm
compares: the certificate has to be this device's. A lie is refused, and stands in the audit as an alert.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from pharos.caravel.errors import HelmRefusedError
from pharos.caravel.profiles.store import ProfileStore
from pharos.caravel.sync import sync
from pharos.helm.model.alerts import Alert
from pharos.helm.relay.edge import PassageEdge
from pharos.helm.relay.refusals import WRONG_FINGERPRINT
from pharos.helm.store.alerts import standing_alert
from pharos.helm.store.audit import audit_rows
from pharos.wire.errors import BundleNotForUsError
from pharos.wire.passage import server
from pharos.wire.passage.accepted import DeviceRecord
from pharos.wire.passage.server import Trouble
from tests.support.evilbeacon import RelayFleet, fleet_behind


def fingerprint_of(store: ProfileStore) -> str:
    return hashlib.sha256(store.enrolled().certificate).hexdigest()


async def alert_of(fleet: RelayFleet) -> Alert | None:
    return await fleet.helm.store.read(standing_alert, WRONG_FINGERPRINT, fleet.relay.id)


async def test_a17_another_devices_fingerprint_is_refused_and_stands_in_the_audit(tmp_path: Path) -> None:
    async with fleet_behind(tmp_path) as fleet:
        alice, bob = await fleet.enrol("alice"), await fleet.enrol("bob")
        await sync(alice)
        assert await alert_of(fleet) is None
        fleet.evil.fingerprints = [fingerprint_of(bob)]
        for _ in range(3):
            with pytest.raises(HelmRefusedError, match="UNAUTHENTICATED passage"):
                await sync(alice)
        assert fleet.refusals() == [Trouble.FINGERPRINT.value]
        alert = await alert_of(fleet)
        assert alert is not None
        assert alert.evidence == {"device": alice.enrolled().device_id, "fingerprint": fingerprint_of(bob)}
        rows = await fleet.helm.store.read(lambda db: [row.verb for row in audit_rows(db, 0)])
        assert rows.count("alert_raised") == 1, "one, whatever number of lies"
        # Who tells the truth again is believed again.
        fleet.evil.fingerprints = None
        await sync(alice)


async def test_a17_another_kind_of_refusal_hides_no_lie(tmp_path: Path) -> None:
    async with fleet_behind(tmp_path) as fleet:
        alice, bob = await fleet.enrol("alice"), await fleet.enrol("bob")
        for fingerprints in (["junk"], [fingerprint_of(bob)]):
            fleet.evil.fingerprints = fingerprints
            with pytest.raises(HelmRefusedError):
                await sync(alice)
        assert fleet.refusals() == [Trouble.MALFORMED.value, Trouble.FINGERPRINT.value]
        assert await alert_of(fleet) is not None


async def test_a17_turns_red_without_the_comparison(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lie goes unnoticed, though the device is still who its static key says."""
    monkeypatch.setattr(server, "verify_fingerprint", lambda fingerprint, _device: fingerprint)
    async with fleet_behind(tmp_path) as fleet:
        alice, bob = await fleet.enrol("alice"), await fleet.enrol("bob")
        fleet.evil.fingerprints = [fingerprint_of(bob)]
        await sync(alice)
        assert fleet.refusals() == []
        assert await alert_of(fleet) is None


async def test_a17_turns_red_where_the_fingerprint_is_more_than_a_hint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A helm that goes by the certificate that the beacon names serves Alice as Bob."""
    async with fleet_behind(tmp_path) as fleet:
        alice, bob = await fleet.enrol("alice"), await fleet.enrol("bob")
        fleet.evil.fingerprints = [fingerprint_of(bob)]
        record = DeviceRecord(id=bob.enrolled().device_id, fingerprints=frozenset(fleet.evil.fingerprints))

        async def by_fingerprint(_edge: PassageEdge, _noise_key: bytes) -> DeviceRecord:
            return record

        monkeypatch.setattr(PassageEdge, "_find_device", by_fingerprint)
        await fleet.add_node("amsterdam")
        with pytest.raises(BundleNotForUsError):
            # What she is given is Bob's: only its seal keeps it from her.
            await sync(alice)
        assert fleet.refusals() == []
