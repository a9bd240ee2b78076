"""How much longer do twenty reads take from another machine, over the passage, than on helm's own loopback?"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import httpx

from bench._desk_fleet import Desk
from pharos.caravel.admin.page import open_admin
from pharos.caravel.client import open_client
from pharos.caravel.enrolment import enroll
from pharos.caravel.profiles.store import ProfileStore

_PATHS: Final = ("/api/v1/status", "/api/v1/users", "/api/v1/devices", "/api/v1/alerts?state=open")


class Away:
    """One admin, signed in at both."""

    def __init__(self, there: httpx.AsyncClient, here: httpx.AsyncClient) -> None:
        self._there = there
        self._here = here

    async def read_over_passage(self, count: int) -> float:
        """Return the seconds that so many reads take, one after another."""
        return await _read(self._there, count)

    async def read_on_loopback(self, count: int) -> float:
        """Return the seconds that the same reads take at helm's own port."""
        return await _read(self._here, count)


@asynccontextmanager
async def open_away(desk: Desk) -> AsyncIterator[Away]:
    """Give an admin a device, and sign in from it and on helm's machine."""
    folder = desk.folder / "admins-laptop"
    enrolled = await enroll(ProfileStore(folder), await desk.invite("admin's laptop"))
    admin = await desk.ask("POST", "/api/v1/admins", {"name": "ada", "role": "admin"})
    await desk.ask("POST", f"/api/v1/admins/{admin['id']}/give-device", {"device": enrolled.device_id})
    async with (
        open_client(folder) as client,
        open_admin(client, port=0) as page,
        httpx.AsyncClient(base_url=page.address, timeout=20) as there,
        httpx.AsyncClient(base_url=f"http://localhost:{desk.web_port}", timeout=20) as here,
    ):
        await there.get(page.link)
        for browser in (there, here):
            link = await desk.ask("POST", f"/api/v1/admins/{admin['id']}/link")
            answer = await browser.post("/api/v1/session", json={"link": link["link"]})
            answer.raise_for_status()
        yield Away(there, here)


async def _read(browser: httpx.AsyncClient, count: int) -> float:
    began = time.perf_counter()
    for number in range(count):
        answer = await browser.get(_PATHS[number % len(_PATHS)])
        answer.raise_for_status()
    return time.perf_counter() - began
