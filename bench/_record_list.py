"""How long do the first page of a filtered list and a search by name take? Through the REST app in this process."""

from __future__ import annotations

import datetime
import hashlib
import math
import os
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, cast

import attrs
import httpx
import trio

from pharos.helm.ca.authority import create_fleet, load_authority
from pharos.helm.ca.live import LiveAuthority
from pharos.helm.ca.vault import create_vault, open_vault
from pharos.helm.context import HelmContext
from pharos.helm.live.board import Board, now_us
from pharos.helm.live.hub import Hub
from pharos.helm.model.devices import Device, DeviceState
from pharos.helm.model.fleet import Posture
from pharos.helm.model.users import User
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database, open_store
from pharos.helm.store.devices import DEVICES
from pharos.helm.store.ids import fresh_id
from pharos.helm.store.pools import take_addresses
from pharos.helm.store.records import add_record
from pharos.helm.store.users import USERS
from pharos.helm.web.app import make_operator_app
from pharos.wire.ids import DeviceId

DEVICES_EACH: Final = 20
"""Of a user."""
ROUNDS: Final = 40
_ACT: Final = Act(actor="bench", at=1_800_000_000_000_000)
# What an admin page asks for: everybody's, somebody's, a word typed into the search field, both ways of sorting.
_LISTS: Final = (
    "",
    "state=active&sort=name",
    "state=disabled",
    "q=phone+12",
    "q=zzz",
    "user={user}&sort=-created_at",
    "state=active&q=laptop&sort=-name",
)
# What somebody types into the palette: what many have, what one has, what nobody has.
_SEARCHES: Final = ("phone", "laptop 1", "user 1", "zzz")


@attrs.frozen
class Looks:
    """What looking at a record of so many devices takes."""

    list_ms: float
    """95th percentile of the first page of a filtered list."""
    search_ms: float
    """95th percentile of a search by name over all kinds."""
    octets: int
    """Of core.db: what the devices, their users and their audit take of it."""


def measure_list(rows: int = 10_000) -> float:
    """Return the 95th percentile, in milliseconds, of the first page of a filtered list of so many devices."""
    return look(rows).list_ms


def look(rows: int, *, rounds: int = ROUNDS) -> Looks:
    """Make a record of so many devices, and look at it over and over."""
    with tempfile.TemporaryDirectory() as name:
        state = Path(name)
        vault, data_key = create_vault(state)
        with open_store(state, create=True) as store:

            async def measure() -> Looks:
                now = datetime.datetime.now(datetime.UTC)
                await store.run(create_fleet, vault, data_key, Posture.ENTERPRISE, now=now)
                empty = await store.run(_octets)
                user = await store.run(_fill, rows)
                hub = Hub()
                context = HelmContext(
                    store=store,
                    authorities=LiveAuthority(await store.run(load_authority, open_vault(state), now=now)),
                    vault=vault,
                    board=Board(hub),
                    hub=hub,
                    started_at=now_us(),
                )
                lists = [f"devices?{query.format(user=user)}" for query in _LISTS]
                searches = [f"search?q={part.replace(' ', '+')}" for part in _SEARCHES]
                return Looks(
                    _percentile(await _ask(context, lists, rounds), 0.95),
                    _percentile(await _ask(context, searches, rounds), 0.95),
                    await store.run(_octets) - empty,
                )

            return trio.run(measure)


async def _ask(context: HelmContext, queries: Iterable[str], rounds: int) -> list[float]:
    transport = httpx.ASGITransport(cast(Any, make_operator_app(context)))
    times = []
    async with httpx.AsyncClient(transport=transport, base_url="http://helm") as client:
        for number in range(rounds + 1):
            for query in queries:
                began = time.perf_counter()
                answer = await client.get(f"/api/v1/{query}")
                took = (time.perf_counter() - began) * 1000
                if answer.status_code != 200:
                    raise RuntimeError(f"{query!r} was answered {answer.status_code}: {answer.text}")
                # The first round warms the app and SQLite's cache.
                if number:
                    times.append(took)
    return times


def _octets(db: Database) -> int:
    pages, size = (db.execute(f"PRAGMA {what}").fetchone()[0] for what in ("page_count", "page_size"))
    return int(pages) * int(size)


def _fill(db: Database, rows: int) -> str:
    people = max(rows // DEVICES_EACH, 1)
    users = [add_record(db, USERS, User(id=fresh_id(), name=f"user {number}"), _ACT) for number in range(people)]
    for number in range(rows):
        address4, address6 = take_addresses(db)
        seed = os.urandom(8)
        sealing, derive, noise, awg = (hashlib.sha256(use + seed).digest() for use in (b"s", b"d", b"n", b"a"))
        device = Device(
            id=DeviceId(fresh_id()),
            name=f"{('phone', 'laptop', 'tablet')[number % 3]} {number}",
            user_id=users[number % people].id,
            state=DeviceState.DISABLED if number % 20 == 0 else DeviceState.ACTIVE,
            sealing_key=sealing,
            derive_key=derive,
            noise_key=noise,
            awg_key=awg,
            address4=address4,
            address6=address6,
        )
        add_record(db, DEVICES, device, _ACT)
    return users[0].id


def _percentile(values: Iterable[float], part: float) -> float:
    ordered = sorted(values)
    return ordered[math.ceil(part * len(ordered)) - 1]
