"""What an upgrade wants of helm: who the members are, and how one of them is, by its own word over mTLS."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import attrs

from pharos.helm.model.nodes import LINKED, NodeState
from pharos.helm.onboard.join.parts import Part


@attrs.frozen(kw_only=True)
class Member:
    """A node or relay as the record has it."""

    id: str
    name: str
    part: Part
    state: NodeState
    destination: str
    """``[user@]host[:port]`` for ssh; empty: it joined by files, and nobody has said."""
    host_key: str = ""
    """``SHA256:…``; empty: not known yet."""


@attrs.frozen(kw_only=True)
class Health:
    """How a member is."""

    version: str
    """Of its agent."""
    started_at: int
    """The agent, in microseconds since 1970 by the member's clock; 0: it does not say."""
    settled: bool
    """What is in force there is what helm wants there."""
    troubles: tuple[str, ...] = ()
    """Of its engines: ``amneziawg: no interface``."""
    now: int = 0
    """Microseconds since 1970, by its clock."""
    tunnels: int = 0
    """Devices whose newest handshake is not older than the moment that was asked about."""


class Desk(Protocol):
    """helm, from the upgrade's side; REST or its own services behind it."""

    async def members(self, part: Part) -> list[Member]:
        """Return all nodes, or all relays, that helm speaks to."""

    async def health(self, member: Member, since: int) -> Health | None:
        """Return how a member is, or None while it does not answer.

        ``since``, in microseconds since 1970 by the member's clock, is for ``tunnels``; 0: those of the last 180 s.
        """


Ask = Callable[[str, str], Awaitable[dict[str, Any]]]
"""``ask(method, path)`` of REST."""


@attrs.frozen
class RestDesk:
    """helm by its REST interface."""

    ask: Ask

    async def members(self, part: Part) -> list[Member]:
        """See `Desk`."""
        found: list[Member] = []
        cursor = ""
        while True:
            page = await self.ask("GET", f"/api/v1/{part.agent.noun}?limit=500{cursor}")
            found += [member for item in page["items"] if (member := _member(part, item)).state in LINKED]
            if not page["cursor"]:
                return found
            cursor = f"&cursor={page['cursor']}"

    async def health(self, member: Member, since: int) -> Health | None:
        """See `Desk`."""
        said = await self.ask("GET", f"/api/v1/{member.part.agent.noun}/{member.id}/health?since={since}")
        if not said["answers"]:
            return None
        return Health(
            version=said["version"],
            started_at=said["started_at_us"],
            settled=said["settled"],
            troubles=tuple(said["troubles"]),
            now=said["now_us"],
            tunnels=said["tunnels"],
        )


def _member(part: Part, item: dict[str, Any]) -> Member:
    return Member(
        id=item["id"],
        name=item["name"],
        part=part,
        state=NodeState(item["state"]),
        destination="" if item.get("aboard") else item.get("ssh_destination", ""),
        host_key=item.get("ssh_host_key", ""),
    )
