"""Row 51, at the relays. Position: anybody on the Internet. Wants: to know who has an account, by words and by time.

Countermeasure: one answer and one hash, whoever it is; a code is drawn for everybody. See test_a51_user_enumeration.py
for admins.
"""

from __future__ import annotations

import random
import statistics
import time
from pathlib import Path

import argon2
import pytest

from pharos.helm.accounts import passphrases
from pharos.helm.accounts.passphrases import REFUSED, PassphraseDoor
from pharos.helm.accounts.throttle import Throttle
from pharos.helm.accounts.users import add_user, change_user
from pharos.helm.ca import passwords
from pharos.helm.errors import NotSignedInError
from pharos.helm.model.users import UserState
from pharos.helm.store.credentials import put_passphrase
from pharos.helm.store.database import Database
from tests.attacks.test_a51_user_enumeration import BOUND, SAMPLES, welch
from tests.support.helm import SampleHelm, open_helm, sample_act


@pytest.fixture(autouse=True)
def _cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hash that takes a few milliseconds: six hundred of the real one would take minutes, and hide more."""
    monkeypatch.setattr(passwords, "_HASHER", argon2.PasswordHasher(time_cost=2, memory_cost=512, parallelism=1))
    monkeypatch.setattr(Throttle, "check", lambda *_args, **_kwargs: None)


async def add_users(helm: SampleHelm) -> None:
    def add(db: Database) -> None:
        for name in ("known", "fresh", "disabled"):
            user = add_user(db, sample_act(), {"name": name, "email": f"{name}@example.org"})
            if name != "fresh":
                put_passphrase(db, sample_act(), user.id, passwords.hash_password("correct horse battery"))
            if name == "disabled":
                change_user(db, sample_act(), user.id, 2, {"state": UserState.DISABLED})

    await helm.store.run(add)


async def measure(helm: SampleHelm, first: str, second: str, samples: int = SAMPLES) -> float:
    """Return Welch's t of how long a wrong passphrase takes with each of two addresses."""
    door = PassphraseDoor(helm.context)
    taken: dict[str, list[float]] = {first: [], second: []}
    turns = [first, second] * samples
    random.Random(51).shuffle(turns)
    for name in turns:
        begun = time.perf_counter()
        with pytest.raises(NotSignedInError, match=REFUSED):
            await door.check(f"{name}@example.org", "a wrong passphrase", at="gate")
        taken[name].append(time.perf_counter() - begun)
    # What takes three times as long as most was not helm's work: another process had the processor.
    limit = 3 * statistics.median([*taken[first], *taken[second]])
    return welch(*([t for t in times if t < limit] for times in (taken[first], taken[second])))


async def test_a51_wrong_passphrase_takes_as_long_whoever_it_is_tried_with(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm:
        await add_users(helm)
        assert abs(await measure(helm, "known", "nobody")) < BOUND


async def test_a51_turns_red_where_passphrases_of_people_only_are_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_helm(tmp_path) as helm:
        # A hash that takes as long as a write, of which there are few samples here.
        hasher = argon2.PasswordHasher(time_cost=2, memory_cost=16 * 1024, parallelism=1)
        monkeypatch.setattr(passwords, "_HASHER", hasher)
        await add_users(helm)
        monkeypatch.setattr(passphrases, "fits_nothing", lambda: "nothing")
        monkeypatch.setattr(
            passphrases,
            "password_fits",
            lambda encoded, said: encoded != "nothing" and passwords.password_fits(encoded, said),
        )
        assert abs(await measure(helm, "known", "nobody", samples=80)) > BOUND


@pytest.mark.parametrize("name", ["known", "fresh", "disabled", "nobody", "KNOWN", "x" * 1000, "ähm", ""])
async def test_a51_one_hash_is_checked_whoever_it_is(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    costs: list[str] = []

    def fits(encoded: str, said: str) -> bool:
        costs.append(encoded.split("$")[3])
        return passwords.password_fits(encoded, said)

    monkeypatch.setattr(passphrases, "password_fits", fits)
    async with open_helm(tmp_path) as helm:
        await add_users(helm)
        with pytest.raises(NotSignedInError, match=REFUSED):
            await PassphraseDoor(helm.context).check(f"{name}@example.org", "a wrong passphrase", at="gate")
    assert costs == [passwords.hash_password("x").split("$")[3]]
