"""What an onboarding wants of helm: a certificate for a request, a look at who joined, and a way back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import attrs

from pharos.helm.onboard.join.parts import Part


@attrs.frozen(kw_only=True)
class Adopted:
    """A machine is a member."""

    id: str
    name: str
    grant: str = attrs.field(repr=False)
    """What its `csr --install` takes."""


@attrs.frozen(kw_only=True)
class Seen:
    """What a member said of itself over mTLS."""

    version: str
    """Of its agent; empty: it does not say."""
    ordered: bool = False
    """helm has told it what to serve."""
    troubles: tuple[str, ...] = ()
    """Of its engines, in words."""
    reality_port: int = 0
    """TCP, where it serves REALITY; 0: it does not."""


class Desk(Protocol):
    """helm, from the onboarding's side; REST or its own services behind it."""

    @property
    def running(self) -> bool:
        """Whether a helm runs that will keep a link to who joins."""

    async def fleet(self) -> str:
        """Return the fleet's id."""

    async def adopt(self, part: Part, record: dict[str, Any]) -> Adopted:
        """Record a machine and certify it. The same request again gets the same grant.

        Raises: ConflictError or CommandError — its name or its key is taken.
        """

    async def readopt(self, part: Part, member_id: str, request: str, *, new_keys: bool) -> Adopted:
        """Certify a machine anew that is known. Raises: as ``adopt``; its keys are others, and may not be."""

    async def remember(self, part: Part, member_id: str, destination: str, host_key: str) -> None:
        """Write down how a member is reached by SSH."""

    async def nudge(self, part: Part, member_id: str) -> None:
        """Have helm dial a node at once, which it has tried while the service was not there yet."""

    async def see(self, part: Part, member_id: str) -> Seen:
        """Dial a member over mTLS and ask it how it is. Raises: as ``adopt``; it does not answer, or is not itself."""

    async def find(self, part: Part, name: str) -> dict[str, Any] | None:
        """Return the record of that name, if there is one."""

    async def forget(self, part: Part, member_id: str) -> None:
        """Revoke and remove a member."""


Ask = Callable[..., Awaitable[dict[str, Any]]]
"""``ask(method, path, body, version)`` of REST."""


@attrs.frozen
class RestDesk:
    """helm by its REST interface, whoever carries that."""

    ask: Ask
    running: bool

    async def fleet(self) -> str:
        """See `Desk`."""
        picture = await self.ask("GET", "/api/v1/status", None, None)
        fleet: str = picture["fleet"]["id"]
        return fleet

    async def adopt(self, part: Part, record: dict[str, Any]) -> Adopted:
        """See `Desk`."""
        return _adopted(await self.ask("POST", f"/api/v1/{part.agent.noun}", record, None))

    async def readopt(self, part: Part, member_id: str, request: str, *, new_keys: bool) -> Adopted:
        """See `Desk`."""
        path = f"/api/v1/{part.agent.noun}/{member_id}"
        record = await self.ask("GET", path, None, None)
        body = {"request": request, "new_keys": new_keys}
        return _adopted(await self.ask("POST", f"{path}/readopt", body, record["version"]))

    async def remember(self, part: Part, member_id: str, destination: str, host_key: str) -> None:
        """See `Desk`."""
        path = f"/api/v1/{part.agent.noun}/{member_id}"
        record = await self.ask("GET", path, None, None)
        await self.ask("PATCH", path, {"ssh_destination": destination, "ssh_host_key": host_key}, record["version"])

    async def nudge(self, part: Part, member_id: str) -> None:
        """See `Desk`."""
        if part is Part.BUOY:
            path = f"/api/v1/{part.agent.noun}/{member_id}"
            await self.ask("POST", f"{path}/push", None, (await self.ask("GET", path, None, None))["version"])

    async def see(self, part: Part, member_id: str) -> Seen:
        """See `Desk`."""
        said = await self.ask("POST", f"/api/v1/{part.agent.noun}/{member_id}/see", None, None)
        return Seen(
            version=said["version"],
            ordered=said["ordered"],
            troubles=tuple(said["troubles"]),
            reality_port=said["reality_port"],
        )

    async def find(self, part: Part, name: str) -> dict[str, Any] | None:
        """See `Desk`."""
        # A name is letters, digits, spaces, dots, hyphens and underscores: of those a query takes all but the space.
        page = await self.ask("GET", f"/api/v1/{part.agent.noun}?name={name.replace(' ', '%20')}", None, None)
        found: list[dict[str, Any]] = page["items"]
        return found[0] if found else None

    async def forget(self, part: Part, member_id: str) -> None:
        """See `Desk`."""
        path = f"/api/v1/{part.agent.noun}/{member_id}"
        record = await self.ask("GET", path, None, None)
        if record["state"] != "revoked":
            record = await self.ask("POST", f"{path}/revoke", None, record["version"])
        await self.ask("DELETE", path, None, record["version"])


def _adopted(answer: dict[str, Any]) -> Adopted:
    return Adopted(id=answer["id"], name=answer["name"], grant=answer["grant"])
