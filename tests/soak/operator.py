"""An operator who changes things all the time, and a ledger of what helm has said yes to.

Each act has an idempotency key and is asked for until helm has answered, whatever happens to helm meanwhile. So an act
is done once, or was refused; at the end the record has to hold exactly what the ledger says.
"""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, NoReturn

import attrs
import httpx
import trio

BASE: Final = "http://helm"
USERS: Final = "/api/v1/users"
TIMEOUT: Final = 30.0
LONGEST: Final = 90.0
"""Seconds that helm may be away; it is down, cut off or without a disk for a few at a time."""
PAUSE: Final = 0.4
_AGAIN: Final = frozenset({408, 425, 429, 500, 502, 503, 504, 507})
"""helm says that it could not, and not that it would not."""


class RefusedError(Exception):
    """helm said no: the message has its status and its reason."""


@attrs.define
class Desk:
    """Somebody who acts by helm's Unix socket, and never by another way while helm is down."""

    client: httpx.AsyncClient
    acked: int = 0
    retried: int = 0

    async def ask(self, method: str, path: str, body: object = None, *, version: int | None = None) -> dict[str, Any]:
        """Have it done once, however often it takes. Raises: RefusedError."""
        headers = {"Idempotency-Key": str(uuid.uuid4())} if method == "POST" else {}
        if version is not None:
            headers["If-Match"] = f'"{version}"'
        begun = trio.current_time()
        while True:
            try:
                answer = await self.client.request(method, path, json=body, headers=headers)
            except httpx.HTTPError:
                # helm is away, or went away before it answered.
                answer = None
            if answer is not None and answer.is_success:
                self.acked += method != "GET"
                said: dict[str, Any] = answer.json() if answer.content else {}
                return said
            if answer is not None and answer.status_code not in _AGAIN:
                raise RefusedError(f"{method} {path}: {answer.status_code} {answer.text[:200]}")
            if trio.current_time() - begun > LONGEST:
                raise RefusedError(f"{method} {path}: helm has done nothing for {LONGEST:g} s")
            self.retried += 1
            await trio.sleep(0.2)

    async def find(self, noun: str, name: str) -> dict[str, Any]:
        """Return the record of that name."""
        (record,) = (await self.ask("GET", f"/api/v1/{noun}?name={name}"))["items"]
        found: dict[str, Any] = record
        return found


@asynccontextmanager
async def open_desk(socket: str) -> AsyncIterator[Desk]:
    """Have a desk while the block lasts."""
    transport = httpx.AsyncHTTPTransport(uds=socket)
    async with httpx.AsyncClient(transport=transport, base_url=BASE, timeout=TIMEOUT) as client:
        yield Desk(client)


@attrs.define
class Ledger:
    """What helm has said yes to: the note of each user, by id, and the names."""

    names: dict[str, str] = attrs.field(factory=dict)
    notes: dict[str, str] = attrs.field(factory=dict)
    doubtful: dict[str, set[str]] = attrs.field(factory=dict)
    """Notes that helm may have taken without having been heard."""
    removed: set[str] = attrs.field(factory=set)

    def missing(self, found: dict[str, dict[str, Any]]) -> list[str]:
        """Return a line for each thing that helm said yes to and that the record, by id, does not hold."""
        lost = [
            f"user {name} is gone" for id_, name in self.names.items() if id_ not in found | dict.fromkeys(self.removed)
        ]
        for id_, note in self.notes.items():
            if id_ in found and found[id_]["note"] not in {note} | self.doubtful.get(id_, set()):
                lost.append(f"user {found[id_]['name']} has the note {found[id_]['note']!r}, not {note!r}")
        lost += [f"user {found[id_]['name']} was removed and is there" for id_ in self.removed if id_ in found]
        names = [record["name"] for record in found.values()]
        lost += [f"user {name} was added more than once" for name in set(names) if names.count(name) > 1]
        return lost


@attrs.define
class Operator:
    """Adds users, notes things about them and removes some, by seed."""

    desk: Desk
    random: random.Random
    ledger: Ledger = attrs.field(factory=Ledger)
    _number: int = 0

    async def run(self) -> NoReturn:
        """Act until cancelled; between two acts, so that the ledger knows of each."""
        while True:
            with trio.CancelScope(shield=True):
                await self.act()
            await trio.sleep(self.random.uniform(0, 2 * PAUSE))

    async def act(self) -> None:
        """Do one thing."""
        there = [id_ for id_ in self.ledger.names if id_ not in self.ledger.removed]
        kind = self.random.random()
        if len(there) < 20 or kind < 0.2:
            self._number += 1
            await self._add(f"soak-{self._number}")
        elif kind < 0.9:
            await self._note(self.random.choice(there))
        else:
            await self._remove(self.random.choice(there))

    async def _add(self, name: str) -> None:
        record = await self.desk.ask("POST", USERS, {"name": name, "note": "new"})
        self.ledger.names[record["id"]], self.ledger.notes[record["id"]] = name, "new"

    async def _note(self, id_: str) -> None:
        note = f"note {self.random.getrandbits(32):08x}"
        record = await self.desk.ask("GET", f"{USERS}/{id_}")
        self.ledger.doubtful.setdefault(id_, set()).add(note)
        try:
            await self.desk.ask("PATCH", f"{USERS}/{id_}", {"note": note}, version=record["version"])
        except RefusedError as error:
            # It was done before helm died, and the version has moved on.
            if " 409 " not in str(error) and " 412 " not in str(error):
                raise
            note = (await self.desk.ask("GET", f"{USERS}/{id_}"))["note"]
        self.ledger.notes[id_], self.ledger.doubtful[id_] = note, set()

    async def _remove(self, id_: str) -> None:
        record = await self.desk.ask("GET", f"{USERS}/{id_}")
        try:
            await self.desk.ask("DELETE", f"{USERS}/{id_}", version=record["version"])
        except RefusedError as error:
            if " 404 " not in str(error):
                raise
        self.ledger.removed.add(id_)


async def every_user(desk: Desk) -> dict[str, dict[str, Any]]:
    """Return all users by id."""
    found: dict[str, dict[str, Any]] = {}
    page = await desk.ask("GET", f"{USERS}?limit=500")
    while True:
        found |= {record["id"]: record for record in page["items"]}
        if (cursor := page["cursor"]) is None:
            return found
        page = await desk.ask("GET", f"{USERS}?limit=500&cursor={cursor}")


def seen_by_page(log: Path) -> set[str]:
    """Return the ids of the records of which a page, `helm watch --json`, was told."""
    told = [json.loads(line) for line in log.read_text().splitlines() if line.startswith('{"delta"')]
    return {line["delta"]["id"] for line in told}
