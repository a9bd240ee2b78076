"""How long does a login by passphrase take, two at a time, and what does somebody who guesses do to it?"""

from __future__ import annotations

import time
from typing import Final

import trio

from bench._desk_fleet import Desk
from pharos.caravel.errors import CaravelError
from pharos.caravel.login import Method, open_login
from pharos.wire.seal.ticket import FleetLink

IN_FLIGHT: Final = 2
GUESSERS: Final = 4
"""Passages that guess at once, one passphrase after another, each by an address of its own."""
_PASSPHRASE: Final = "correct horse battery staple"
_PAUSE: Final = 0.2
"""Seconds; what a beacon lets one source do is a hundredth of it."""


class Accounts:
    """Users with passphrases, who log in."""

    def __init__(self, desk: Desk, link: FleetLink, emails: list[str]) -> None:
        self._desk = desk
        self._link = link
        self._emails = emails
        self._turn = 0

    async def log_in(self) -> float:
        """Return the seconds from the dial to helm's word that it is who it says."""
        self._turn += 1
        email = self._emails[self._turn % len(self._emails)]
        began = time.perf_counter()
        async with open_login(self._link) as login:
            await login.begin(Method.PASSPHRASE, email=email, device_name="laptop")
            await login.say_passphrase(_PASSPHRASE)
            return time.perf_counter() - began

    async def many(self, count: int) -> list[float]:
        """Return how long each of so many logins took, two at a time."""
        taken: list[float] = []

        async def work() -> None:
            while len(taken) < count:
                taken.append(await self.log_in())

        async with trio.open_nursery() as nursery:
            for _ in range(IN_FLIGHT):
                nursery.start_soon(work)
        return taken[:count]

    async def while_guessed(self, count: int) -> list[float]:
        """Return how long logins take, one after another, while others guess."""
        async with trio.open_nursery() as nursery:
            for number in range(GUESSERS):
                await nursery.start(self._guess, number)
            taken = [await self.log_in() for _ in range(count)]
            nursery.cancel_scope.cancel()
        return taken

    async def _guess(self, number: int, *, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        guess = 0
        while True:
            guess += 1
            try:
                async with open_login(self._link) as login:
                    name = f"nobody{number}-{guess}@example.org"
                    await login.begin(Method.PASSPHRASE, email=name, device_name="x")
                    await login.say_passphrase("a guess that is wrong")
            except CaravelError:
                await trio.sleep(_PAUSE)


async def make_accounts(desk: Desk, count: int) -> Accounts:
    """Add users, and give each a passphrase."""
    emails = []
    for number in range(count):
        email = f"user{number}@example.org"
        user = await desk.ask("POST", "/api/v1/users", {"name": f"user {number}", "email": email})
        await desk.ask("POST", f"/api/v1/users/{user['id']}/passphrase", {"passphrase": _PASSPHRASE})
        emails.append(email)
    link = await desk.ask("GET", "/api/v1/fleet/link")
    return Accounts(desk, FleetLink.parse(link["link"]), emails)
