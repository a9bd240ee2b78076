"""How long does a login by passphrase take, two at a time, and what does somebody who guesses do to it?"""

from __future__ import annotations

import time
from typing import Final

import trio

from bench._desk_fleet import Desk
from bench.support import Worker
from pharos.caravel.errors import HelmRefusedError, NoAnswerError
from pharos.caravel.login import Method, open_login
from pharos.wire.seal.ticket import FleetLink

IN_FLIGHT: Final = 2
_AGAIN: Final = 0.1
"""Seconds before somebody who was turned away tries again."""
_PASSPHRASE: Final = "correct horse battery staple"


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

    async def while_guessed(self, guessers: Worker, count: int) -> list[float]:
        """Return how long logins take, one after another, while others guess."""
        await trio.to_thread.run_sync(lambda: guessers.ask(task="start", link=self._link.render()))
        taken = [await self._until_in() for _ in range(count)]
        guesses = (await trio.to_thread.run_sync(lambda: guessers.ask(task="stop")))["guesses"]
        if guesses < count:
            raise RuntimeError(f"those who guess got no time: {guesses} guesses beside {count} logins")
        return taken

    async def _until_in(self) -> float:
        """Log in as a person does: who is told that too many are at the door tries again, and the clock goes on."""
        began = time.perf_counter()
        while True:
            try:
                await self.log_in()
            except (NoAnswerError, HelmRefusedError):
                await trio.sleep(_AGAIN)
            else:
                return time.perf_counter() - began


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
