"""Row 51. Position: anybody at the loopback edge. Wants: to know whose names are admins', by what helm says and when.

Countermeasure: one answer for all that is wrong, and a hash is checked for somebody who is not there, too.
"""

from __future__ import annotations

import math
import random
import statistics
import time
from pathlib import Path

import argon2
import pytest

from pharos.helm.accounts import signin
from pharos.helm.accounts.signin import SignIn
from pharos.helm.accounts.throttle import Throttle
from pharos.helm.ca import passwords
from pharos.helm.errors import NotSignedInError
from pharos.helm.model.admins import AdminState, Role
from pharos.helm.store.database import Database
from pharos.helm.web.app import make_loopback_app
from tests.support.authenticator import PASSKEYS, Authenticator, register
from tests.support.helm import SampleHelm, open_helm
from tests.support.http import asking
from tests.support.signin import sign_in

SAMPLES = 300
# Beyond it, leakage is taken for shown (Goodwill et al., A testing methodology for side-channel resistance, 2011).
BOUND = 4.5
PASSWORD = "correct horse battery"


def welch(one: list[float], other: list[float]) -> float:
    """Return Welch's t of two samples."""
    spread = statistics.variance(one) / len(one) + statistics.variance(other) / len(other)
    return (statistics.fmean(one) - statistics.fmean(other)) / math.sqrt(spread)


@pytest.fixture(autouse=True)
def _cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hash that takes a few milliseconds: six hundred of the real one would take minutes, and hide more."""
    monkeypatch.setattr(passwords, "_HASHER", argon2.PasswordHasher(time_cost=2, memory_cost=1024, parallelism=1))
    monkeypatch.setattr(Throttle, "check", lambda *_args: None)


async def add_admins(helm: SampleHelm) -> None:
    """Give helm an admin with a password, one with a code besides, one with neither, and one who is disabled."""
    encoded = passwords.hash_password(PASSWORD)
    for name in ("known", "invited", "disabled"):
        await sign_in(helm.context, name=name, role=Role.OWNER)

    def write(db: Database) -> None:
        db.execute("UPDATE admins SET password = ? WHERE name <> 'invited'", (encoded,))
        db.execute("UPDATE admins SET state = ? WHERE name = 'disabled'", (AdminState.DISABLED.value,))

    await helm.store.run(write)


async def measure(door: SignIn, first: str, second: str) -> float:
    """Return Welch's t of how long a wrong password takes with each of two names, in turns that nobody can foresee."""
    taken: dict[str, list[float]] = {first: [], second: []}
    turns = [first, second] * SAMPLES
    random.Random(51).shuffle(turns)
    for name in turns:
        begun = time.perf_counter()
        with pytest.raises(NotSignedInError, match=signin.REFUSED):
            await door.by_password(name, "wrong password", "000000", browser="")
        taken[name].append(time.perf_counter() - begun)
    # What takes three times as long as most was not helm's work: another process had the processor.
    limit = 3 * statistics.median([*taken[first], *taken[second]])
    return welch(*([t for t in times if t < limit] for times in (taken[first], taken[second])))


@pytest.mark.parametrize("other", ["disabled", "nobody"])
async def test_a51_wrong_password_takes_as_long_whoever_it_is_tried_with(tmp_path: Path, other: str) -> None:
    async with open_helm(tmp_path) as helm:
        await add_admins(helm)
        assert abs(await measure(SignIn(helm.store, helm.vault), "known", other)) < BOUND


async def test_a51_turns_red_without_the_dummy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proof that the test above can fail: a build that checks passwords of people only."""
    async with open_helm(tmp_path) as helm:
        await add_admins(helm)
        door = SignIn(helm.store, helm.vault)
        real = door._verify

        async def of_people_only(encoded: str, password: str) -> bool:
            return encoded != door._dummy and await real(encoded, password)

        monkeypatch.setattr(door, "_verify", of_people_only)
        assert abs(await measure(door, "known", "nobody")) > BOUND


async def test_a51_answers_differ_in_nothing(tmp_path: Path) -> None:
    key = Authenticator()
    async with open_helm(tmp_path) as helm, asking(make_loopback_app(helm.context, {"localhost:8440"})) as client:
        await add_admins(helm)
        await register(client, key, headers=await sign_in(helm.context, name="with a passkey"))
        told = set()
        for name in ("known", "invited", "disabled", "nobody", "with a passkey", "x" * 500, "ähm"):
            for password, code in (("wrong password", ""), (PASSWORD + "x", "123456")):
                answer = await client.post("/api/v1/session", json={"name": name, "password": password, "code": code})
                told.add((answer.status_code, answer.text, str(sorted(answer.headers))))
        assert len(told) == 1
        shapes = set()
        for name in ("known", "nobody", "with a passkey"):
            options = (await client.post(f"{PASSKEYS}/sign-in/options", json={"name": name})).json()
            shapes.add(
                (str(sorted(options)), len(options["allowCredentials"]), str(options["allowCredentials"][0].keys()))
            )
        assert len(shapes) == 1
