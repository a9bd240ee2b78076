"""The worker of bench.desk that is those who guess passphrases, as fast as helm answers.

python -m bench._desk_guesser
"""

from __future__ import annotations

import os
from typing import Any, Final

import trio

from bench._rpc_ours import say
from bench._wire_fleet import answer_requests
from pharos.caravel.errors import CaravelError
from pharos.caravel.login import Method, open_login
from pharos.wire.seal.ticket import FleetLink

GUESSERS: Final = 16
"""At once, each in a passage of its own. With more, all by one address, the relay would refuse who is good too."""
PAUSE: Final = 0.05
"""Seconds after a connection that was refused, which costs nobody but us."""


async def run() -> None:
    scope = trio.CancelScope()
    guesses = 0

    async def guess(link: FleetLink, number: int) -> None:
        nonlocal guesses
        passages = 0
        while True:
            passages += 1
            try:
                async with open_login(link) as login:
                    # Another mail address each time: one name would be slowed down by itself.
                    name = f"nobody{number}-{passages}@example.org"
                    await login.begin(Method.PASSPHRASE, email=name, device_name="x")
                    guesses += 1
                    await login.say_passphrase("a guess that is wrong")
            except CaravelError:
                await trio.sleep(PAUSE)

    async def flood(link: FleetLink) -> None:
        with scope:
            async with trio.open_nursery() as flood_nursery:
                for number in range(GUESSERS):
                    flood_nursery.start_soon(guess, link, number)

    async with trio.open_nursery() as nursery:

        async def start(*, link: str) -> dict[str, Any]:
            """Guess until told to stop."""
            nonlocal scope, guesses
            scope, guesses = trio.CancelScope(), 0
            nursery.start_soon(flood, FleetLink.parse(link))
            return {}

        async def stop() -> dict[str, Any]:
            scope.cancel()
            return {"guesses": guesses}

        # They have machines of their own: here they give way to helm and to who is good.
        os.nice(5)
        say(ready=True)
        await answer_requests({"start": start, "stop": stop})
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(run)
