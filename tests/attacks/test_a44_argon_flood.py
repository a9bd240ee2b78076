"""Row 44. Position: anybody who can reach a relay. Wants: helm's memory and time, 64 MiB and a tenth of a second a try.

Countermeasure: of all that hashes, admins' sign-ins and users' logins together, two run at once and eight wait; of
those who come through a relay, four. Who comes then is told so at once, and has not tried.
"""

from __future__ import annotations

import functools
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from pharos.helm.accounts import hashing, passphrases, signin
from pharos.helm.accounts.hashing import AT_ONCE, QUEUE, STRANGERS
from pharos.helm.accounts.passphrases import PassphraseDoor
from pharos.helm.accounts.signin import SignIn
from pharos.helm.accounts.throttle import Throttle
from pharos.helm.accounts.users import add_user
from pharos.helm.errors import BusyError, NotSignedInError
from pharos.helm.model.users import User
from pharos.helm.store.credentials import put_passphrase
from pharos.helm.store.database import Database
from tests.support.helm import SampleHelm, open_helm, sample_act

FLOOD = 40


class Hasher:
    """In Argon2's place: each hash lasts until the test gives it its turn, and counts how many there are at once."""

    def __init__(self) -> None:
        self.running = self.most = self.done = 0
        self._lock = threading.Lock()
        self._turns = threading.Semaphore(0)

    def __call__(self, _encoded: str, password: str) -> bool:
        with self._lock:
            self.running += 1
            self.most = max(self.most, self.running)
        self._turns.acquire()
        with self._lock:
            self.running -= 1
            self.done += 1
        return password == "the right one"

    def finish(self, count: int) -> None:
        self._turns.release(count)


@pytest.fixture
def hasher(monkeypatch: pytest.MonkeyPatch) -> Hasher:
    made = Hasher()
    for module in (passphrases, signin):
        monkeypatch.setattr(module, "password_fits", made)
    # How often somebody may try is row 50's; here everybody tries once.
    monkeypatch.setattr(Throttle, "check", lambda *_args, **_kwargs: None)
    return made


@asynccontextmanager
async def doors(tmp_path: Path) -> AsyncIterator[tuple[SampleHelm, PassphraseDoor, SignIn]]:
    def add(db: Database) -> User:
        user = add_user(db, sample_act(), {"name": "ada", "email": "ada@example.org"})
        return put_passphrase(db, sample_act(), user.id, "encoded")

    async with open_helm(tmp_path) as helm:
        await helm.store.run(add)
        context = helm.context
        yield helm, PassphraseDoor(context), SignIn(context.store, context.vault, context.hashing)


class Crowd:
    """People who try once, at the same time."""

    def __init__(self, users: PassphraseDoor, admins: SignIn) -> None:
        self.fates: Counter[str] = Counter()
        self._users = users
        self._admins = admins

    def is_through(self, count: int) -> bool:
        return self.fates["refused"] + self.fates["in"] == count

    async def user(self, email: str = "nobody@example.org", passphrase: str = "a wrong one") -> None:
        try:
            await self._users.check(email, passphrase, at="gate")
        except BusyError:
            self.fates["busy"] += 1
        except NotSignedInError:
            self.fates["refused"] += 1
        else:
            self.fates["in"] += 1

    async def admin(self) -> None:
        try:
            await self._admins.by_password("nobody", "a wrong one", "", browser="")
        except BusyError:
            self.fates["admin busy"] += 1
        except NotSignedInError:
            self.fates["admin refused"] += 1


async def until(holds: Callable[[], bool]) -> None:
    """Return once something holds that threads do; the test's own timeout ends the wait."""
    while True:
        if holds():
            return
        await trio.sleep(0.001)


async def test_a44_two_hash_at_once_four_wait_and_the_rest_is_told_so(tmp_path: Path, hasher: Hasher) -> None:
    async with doors(tmp_path) as (_, users, admins):
        crowd = Crowd(users, admins)
        async with trio.open_nursery() as nursery:
            for _ in range(FLOOD):
                nursery.start_soon(crowd.user)
            await until(lambda: sum(crowd.fates.values()) >= FLOOD - AT_ONCE - STRANGERS)
            assert crowd.fates == {"busy": FLOOD - AT_ONCE - STRANGERS}, "those who are told so do not wait for it"
            # Admins have places that no stranger takes, and no more than there are.
            for _ in range(FLOOD):
                nursery.start_soon(crowd.admin)
            await until(lambda: crowd.fates["admin busy"] >= FLOOD - (QUEUE - STRANGERS))
            hasher.finish(FLOOD)
        assert crowd.fates["refused"] == AT_ONCE + STRANGERS
        assert crowd.fates["admin refused"] == QUEUE - STRANGERS
        assert hasher.most == AT_ONCE


async def test_a44_whoever_has_the_right_passphrase_waits_for_few_turns(tmp_path: Path, hasher: Hasher) -> None:
    async with doors(tmp_path) as (_, users, admins):
        crowd = Crowd(users, admins)
        async with trio.open_nursery() as nursery:
            for _ in range(AT_ONCE + STRANGERS - 1):
                nursery.start_soon(crowd.user)
            await until(lambda: hasher.running == AT_ONCE)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(crowd.user, "ada@example.org", "the right one")
            ahead = 0
            while not crowd.fates["in"]:
                hasher.finish(1)
                ahead += 1
                await until(functools.partial(crowd.is_through, ahead))
            assert ahead == AT_ONCE + STRANGERS
            # Two at a time: three turns with its own, where an empty helm takes one.
            assert ahead / AT_ONCE <= 4


async def test_a44_turns_red_without_the_queue(tmp_path: Path, hasher: Hasher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "AT_ONCE", FLOOD)
    async with doors(tmp_path) as (helm, _, admins):
        # The one that a running helm has was made before.
        object.__setattr__(helm.context, "hashing", hashing.Hashing())
        crowd = Crowd(PassphraseDoor(helm.context), admins)
        async with trio.open_nursery() as nursery:
            for _ in range(FLOOD):
                nursery.start_soon(crowd.user)
            await until(lambda: hasher.running >= 30)
            hasher.finish(FLOOD)
        assert hasher.most >= 30, "of 64 MiB each"
