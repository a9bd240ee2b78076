"""Row 50. Position: anybody at the loopback edge, with a list of passwords. Wants: in; or that nobody else gets in.

Countermeasure: each failure makes the next try of that name wait longer, all names together have ten tries a minute,
and nothing is ever locked: a passkey, a link and the Unix socket know no such count.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import argon2
import httpx
import pytest
from trio.testing import MockClock

from pharos.helm.accounts import signin, throttle
from pharos.helm.accounts.throttle import Throttle
from pharos.helm.ca import passwords
from pharos.helm.errors import TooManyTriesError
from pharos.helm.model.admins import Role
from pharos.helm.web.app import make_loopback_app, make_operator_app
from tests.support.authenticator import Authenticator, register, sign_in_by_passkey
from tests.support.helm import SampleHelm, open_helm
from tests.support.http import asking
from tests.support.signin import invited, sign_in

TRIES = 1_000_000
DAY = 24 * 3600.0
SESSION = "/api/v1/session"
PASSWORD = "correct horse battery"


def one_name() -> Iterator[str]:
    return itertools.repeat("ada")


def every_name_once() -> Iterator[str]:
    return map(str, itertools.count())


def one_name_behind_others() -> Iterator[str]:
    """So that the one is forgotten: helm remembers only so many names."""
    for number in itertools.count():
        yield "ada" if number % (throttle.REMEMBERED + 1) == 0 else str(number)


def storm(door: Throttle, names: Iterator[str], duration: float, tries: int = TRIES) -> tuple[int, int]:
    """Try as often as said, evenly over seconds of virtual time; return how many were checked, and how many of ada."""
    accepted = of_ada = 0
    for number in range(tries):
        name, now = next(names), number * duration / tries
        try:
            door.check(name, now)
        except TooManyTriesError:
            continue
        door.failed(name, now)
        accepted += 1
        of_ada += name == "ada"
    return accepted, of_ada


@pytest.mark.parametrize(
    ("names", "tries", "most"),
    [
        # A minute each, once the waits have grown.
        (one_name, TRIES, DAY / throttle.LONGEST_DELAY + throttle.FREE_TRIES + 7),
        (every_name_once, TRIES // 3, DAY * throttle.ALL_PER_SECOND + throttle.ALL_BURST),
        (one_name_behind_others, TRIES // 3, DAY * throttle.ALL_PER_SECOND + throttle.ALL_BURST),
    ],
)
def test_a50_of_a_million_tries_a_day_so_many_are_checked(
    names: Callable[[], Iterator[str]], tries: int, most: float
) -> None:
    accepted, of_ada = storm(Throttle(), names(), DAY, tries)
    assert accepted <= most
    # A password has ten characters at least, and lists of common ones have millions.
    assert of_ada <= DAY / throttle.LONGEST_DELAY + throttle.FREE_TRIES + 7


def test_a50_turns_red_without_the_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proof that the test above can fail: a build without delays, and without the limit of all names together."""
    monkeypatch.setattr(throttle, "FREE_TRIES", TRIES)
    monkeypatch.setattr(throttle, "ALL_BURST", TRIES)
    assert storm(Throttle(), one_name(), DAY, 10_000) == (10_000, 10_000)


def test_a50_tries_that_come_at_once_wait_as_those_that_come_one_by_one() -> None:
    """The hash takes a while, and a browser has six connections: all ask before any has failed."""
    door, accepted = Throttle(), 0
    for minute in range(100):
        now, begun = minute * 61.0, 0
        for _ in range(throttle.ALL_BURST):
            try:
                door.check("ada", now)
            except TooManyTriesError:
                continue
            begun += 1
        for _ in range(begun):
            door.failed("ada", now + 0.1)
        accepted += begun
    assert accepted <= throttle.ALL_BURST + 100


def test_a50_nobody_is_locked_out_for_longer_than_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    door = Throttle()
    storm(door, one_name(), 3600.0, 10_000)
    # Ten a minute for all, and one a minute for the name that was tried.
    door.check("ada", 3600.0 + throttle.LONGEST_DELAY)
    door.succeeded("ada")
    door.check("ada", 3600.0 + throttle.LONGEST_DELAY)


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Count the checks, each of which takes next to nothing."""
    monkeypatch.setattr(passwords, "_HASHER", argon2.PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))
    tried: list[str] = []
    real = signin.password_fits

    def counted(encoded: str, password: str) -> bool:
        tried.append(password)
        return real(encoded, password)

    monkeypatch.setattr(signin, "password_fits", counted)
    return tried


async def guess(client: httpx.AsyncClient, name: str, password: str) -> int:
    answer = await client.post(SESSION, json={"name": name, "password": password})
    client.cookies.clear()
    return answer.status_code


async def with_password(helm: SampleHelm, client: httpx.AsyncClient) -> Authenticator:
    """Give ada a password and a passkey."""
    key, headers = Authenticator(), await sign_in(helm.context)
    assert (await client.put(f"{SESSION}/password", json={"password": PASSWORD}, headers=headers)).status_code == 204
    assert (await register(client, key, headers=headers)).status_code == 201
    return key


async def test_a50_edge_checks_few_and_every_other_door_stays_open(
    tmp_path: Path, mock_clock: MockClock, checked: list[str]
) -> None:
    async with open_helm(tmp_path) as helm, asking(make_loopback_app(helm.context, {"localhost:8440"})) as client:
        key = await with_password(helm, client)
        codes = []
        for number in range(120):
            codes.append(await guess(client, "ada", f"wrong password {number}"))
            mock_clock.jump(1.0)
        assert codes.count(401) == len(checked) < 12
        assert codes.count(429) == 120 - codes.count(401)
        # The right password waits as the wrong ones do: an answer in between would tell which it is.
        assert await guess(client, "ada", PASSWORD) == 429
        assert (await sign_in_by_passkey(client, key)).status_code == 200
        client.cookies.clear()
        link = await invited(helm.context, name="grace", role=Role.VIEWER)
        assert (await client.post(SESSION, json={"link": link})).status_code == 200
        client.cookies.clear()
        async with asking(make_operator_app(helm.context), "http://helm") as socket:
            assert (await socket.get("/api/v1/nodes")).status_code == 200
        mock_clock.jump(throttle.LONGEST_DELAY)
        assert await guess(client, "ada", PASSWORD) == 200


async def test_a50_proof_is_counted_as_a_sign_in_is(tmp_path: Path, checked: list[str]) -> None:
    """Somebody at a browser that was left open does not try passwords without end, either."""
    async with open_helm(tmp_path) as helm, asking(make_loopback_app(helm.context, {"localhost:8440"})) as client:
        await with_password(helm, client)
        headers = await sign_in(helm.context, name="bob")
        codes = [
            (await client.post(f"{SESSION}/prove", json={"password": f"wrong {n}"}, headers=headers)).status_code
            for n in range(20)
        ]
        assert codes == [401] * throttle.FREE_TRIES + [429] * (20 - throttle.FREE_TRIES)


async def test_a50_turns_red_at_an_edge_without_the_count(
    tmp_path: Path, checked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Throttle, "check", lambda *_args: None)
    async with open_helm(tmp_path) as helm, asking(make_loopback_app(helm.context, {"localhost:8440"})) as client:
        await with_password(helm, client)
        for number in range(40):
            assert await guess(client, "ada", f"wrong password {number}") == 401
        assert len(checked) == 40
