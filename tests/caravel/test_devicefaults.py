"""A device loses nothing, whichever write point is its last: no key, no newer bundle, no fleet for another's sake."""

from __future__ import annotations

import base64
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pharos.caravel.errors import NoSuchFleetError
from pharos.caravel.profiles.fleets import Fleets
from pharos.caravel.profiles.store import generate_secrets
from pharos.caravel.profiles.unlocking import Protection
from pharos.helm.ca.authority import Authority
from pharos.wire.errors import WireError
from tests.support import devices
from tests.support.faultfs import Attempt, Fate, Rehearsal, rehearsing
from tests.support.faultwork import WRITES
from tests.support.helm import fleet_in_memory


@pytest.fixture(scope="module")
def rehearsal() -> Iterator[Rehearsal]:
    with rehearsing() as running:
        yield running


@pytest.fixture(scope="module")
def authority() -> Iterator[Authority]:
    with fleet_in_memory() as (_, made):
        yield made


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """In memory where there is such a place; a killed process loses nothing that it wrote."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        yield Path(name)


class Device:
    """A directory that is hurt again and again, each time from the same beginning."""

    def __init__(self, folder: Path, authority: Authority, rehearsal: Rehearsal) -> None:
        self.original = folder / "original"
        self.state = folder / "state"
        self._rehearsal = rehearsal
        self.had = devices.lay_down(self.original, authority)

    def prepare(self, change: Any) -> None:
        change(self.original)

    def attempt(self, work: str, n: int = 0, weak: str = "") -> Attempt:
        shutil.rmtree(self.state, ignore_errors=True)
        shutil.rmtree(devices.keyring_of(self.state).folder, ignore_errors=True)
        shutil.copytree(self.original, self.state)
        return self._rehearsal.attempt(work, self.state, n=n, fate=Fate.KILL, weak=weak)

    def every_death(self, work: str, weak: str = "") -> Iterator[Attempt]:
        """Let it die before each of its write points."""
        whole = self.attempt(work, weak=weak)
        assert whole.finished
        assert whole.points > 5
        yield whole
        for n in range(1, whole.points + 1):
            attempt = self.attempt(work, n, weak)
            assert not attempt.finished, f"there is a write point {n}"
            yield attempt

    def lost(self, **changed: Any) -> str:
        """Return what is not as it was; an empty text if all is."""
        try:
            has = devices.kept(self.state)
        except WireError as error:
            return f"{type(error).__name__}: {error}"
        wanted = self.had | changed
        return ", ".join(name for name in wanted if has[name] != wanted[name])


@pytest.fixture
def device(folder: Path, authority: Authority, rehearsal: Rehearsal) -> Device:
    return Device(folder, authority, rehearsal)


def bundle_losses(device: Device, weak: str = "") -> Iterator[str]:
    for attempt in device.every_death("bundles", weak):
        newest = max((revision for (revision,) in attempt.acknowledged), default=1)
        order = None
        try:
            found = devices.open_store(device.state).bundle()
            assert found is not None
            order, blob = found
            if blob != devices.blob(order[1]):
                yield "another revision's bundle"
        except WireError as error:
            yield str(error)
            continue
        if order < (1, newest):
            yield f"{newest} was acknowledged, and {order} is there"


def test_engine_never_sees_a_bundle_that_a_death_takes_back(device: Device) -> None:
    assert list(bundle_losses(device)) == []
    assert len(device.attempt("bundles").acknowledged) == WRITES


def test_bundle_is_lost_where_files_are_overwritten_in_place(device: Device) -> None:
    """Weakened."""
    assert list(bundle_losses(device, "in place"))


def test_store_in_the_clear_is_sealed_with_the_next_write_wherever_it_dies(device: Device) -> None:
    device.prepare(devices.unseal)
    key = device.had["noise"]
    for attempt in device.every_death("seal"):
        assert device.lost() == ""
        if attempt.acknowledged:
            assert not in_the_clear(device.state, key)
        # What a death has left over, the next write sees to.
        devices.open_store(device.state).save_heard(devices.HEARD)
        assert not in_the_clear(device.state, key)
        assert device.lost() == ""


def in_the_clear(state: Path, key: bytes) -> bool:
    return base64.b64encode(key) in devices.everything_on_disk(state)


def protection_losses(device: Device, weak: str = "") -> Iterator[str]:
    for attempt in device.every_death("protect", weak):
        if lost := device.lost():
            yield f"after {attempt.acknowledged}: {lost}"


def test_change_of_protection_leaves_one_store_that_opens_wherever_it_dies(device: Device) -> None:
    assert list(protection_losses(device)) == []


def test_key_that_opened_a_store_is_nowhere_after_a_cut_change_and_the_next_write(device: Device) -> None:
    first = devices.open_store(device.original).vault.keeping()
    assert first is not None
    for attempt in device.every_death("protect"):
        store = devices.open_store(device.state)
        # Whoever types the passphrase, or has what stands in its place.
        assert store.secrets() is not None
        store.save_heard(devices.HEARD)
        keeping = store.vault.keeping()
        assert keeping is not None
        assert (keeping.unfinished, keeping.previous) == (False, b"")
        assert (device.state / f"key-{first.check.hex()}").exists() == (keeping.check == first.check)
        done = [Protection(said) for (said,) in attempt.acknowledged]
        assert keeping.protection in devices.KEEPERS[max(len(done) - 1, 0) : len(done) + 1]
        assert device.lost() == ""


def test_change_that_was_cut_short_is_finished_before_the_next(device: Device) -> None:
    """Its passphrase is asked for only when the next change opens the store; until then it cannot be finished."""
    for attempt in device.every_death("protect"):
        devices.open_store(device.state).vault.change_protection(Protection.KEY_FILE)
        assert device.lost() == "", f"after {attempt.acknowledged}"


def test_protection_is_lost_where_the_old_key_is_given_up_first(device: Device) -> None:
    """Weakened."""
    assert list(protection_losses(device, "at once"))


def second_losses(device: Device, weak: str = "") -> Iterator[str]:
    for attempt in device.every_death("second", weak):
        if lost := device.lost():
            yield f"after {attempt.acknowledged}: {lost}"
        fleets = Fleets(device.state, devices.unlocking(device.state))
        for (fleet,) in attempt.acknowledged:
            try:
                if fleets.open(fleet).secrets() is None:
                    yield f"no keys for {fleet}"
            except WireError as error:
                yield str(error)


def test_second_fleet_costs_the_first_nothing_wherever_it_dies(device: Device) -> None:
    assert list(second_losses(device)) == []
    fleets = Fleets(device.state, devices.unlocking(device.state))
    assert len(fleets.list()) == 1 + len(devices.OTHERS)
    assert fleets.default().member.device == device.had["device"]


def test_first_fleet_is_lost_where_its_files_move_one_by_one(device: Device) -> None:
    """Weakened."""
    assert list(second_losses(device, "one by one"))


def test_forgetting_one_fleet_never_takes_another_with_it(device: Device) -> None:
    def join(state: Path) -> None:
        for fleet in devices.OTHERS:
            store = Fleets(state, devices.unlocking(state)).store_for(fleet)
            store.save_secrets(generate_secrets(), fleet)

    device.prepare(join)
    for attempt in device.every_death("forget"):
        assert device.lost() == ""
        fleets = Fleets(device.state, devices.unlocking(device.state))
        for (fleet,) in attempt.acknowledged:
            with pytest.raises(NoSuchFleetError):
                fleets.find(fleet)
