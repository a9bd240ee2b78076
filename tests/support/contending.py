"""Callers that read and change the same few records of a helm at once, and note what they were told."""

from __future__ import annotations

import random
from collections.abc import Callable

import httpx

from tests.support.linearizable import History, State, Told
from tests.support.nouns import API, match

FIRST: State = (1, "")
"""What a user's record says that was just made."""


async def make_users(client: httpx.AsyncClient, names: list[str]) -> list[str]:
    """Add users, and return their ids."""
    return [(await client.post(f"{API}/users", json={"name": name})).json()["id"] for name in names]


async def contend(
    client: httpx.AsyncClient,
    history: History,
    users: list[str],
    seed: int,
    *,
    goes_on: Callable[[], bool],
) -> None:
    """Read and write as one caller; each write says the version that the caller saw last, as a page does."""
    chance, seen, number = random.Random(seed), dict.fromkeys(users, 1), 0
    own = users[seed % len(users)]
    while goes_on():
        # Mostly one of them, so that more is changed than refused as stale.
        user = own if chance.random() < 0.6 else chance.choice(users)
        if chance.random() < 0.3:
            await read(client, history, user, seen)
        else:
            number += 1
            await write(client, history, user, seen, f"caller {seed}, {number}")


async def read(client: httpx.AsyncClient, history: History, user: str, seen: dict[str, int]) -> None:
    """Read a record, and remember its version."""
    with history.call(user) as call:
        try:
            answer = await client.get(f"{API}/users/{user}")
        except httpx.HTTPError:
            return
        if answer.status_code == 200:
            call.told, call.state = Told.READ, state_of(answer.json())
            seen[user] = call.state[0]
        else:
            call.told = Told.REFUSED


async def write(client: httpx.AsyncClient, history: History, user: str, seen: dict[str, int], note: str) -> None:
    """Change a record; whoever is told that it was stale has seen the newer one."""
    with history.call(user, seen=seen[user], note=note) as call:
        try:
            answer = await client.patch(f"{API}/users/{user}", json={"note": note}, headers=match(seen[user]))
        except httpx.ConnectError:
            # Nobody was there to hear it.
            call.told = Told.REFUSED
            return
        except httpx.HTTPError:
            return
        if answer.status_code == 200:
            call.told, call.state = Told.WRITTEN, state_of(answer.json())
        elif answer.status_code == 409:
            call.told, call.state = Told.STALE, state_of(answer.json()["current"])
        else:
            assert answer.status_code == 503, answer.text
            call.told = Told.REFUSED
            return
        seen[user] = call.state[0]


def state_of(body: dict[str, object]) -> State:
    """Return what a record says."""
    return int(str(body["version"])), str(body["note"])
