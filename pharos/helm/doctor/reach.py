"""Whether each node and relay can be reached: as the running helm sees it, or by dialling it now."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Any, Final

import attrs
import trio

from pharos.helm.ca.authority import Authority
from pharos.helm.fleet.dial import dial_member
from pharos.helm.model.nodes import LINKED, Node, NodeState
from pharos.helm.model.relays import TUNNELLED, Relay
from pharos.wire.errors import LinkLostError, LinkRefusedError
from pharos.wire.findings import Finding, note, ok, problem
from pharos.wire.pki.roles import Role
from pharos.wire.units import SECONDS

# One that takes longer is no use to devices either; 1,000 nodes of which none answers take five minutes.
ANSWER: Final = 5 * SECONDS
AT_ONCE: Final = 16


@attrs.frozen(kw_only=True)
class Member:
    """A node or relay to be reached."""

    role: Role
    id: str
    name: str
    host: str
    port: int
    """TCP, of its control or tunnel listener."""
    aboard: bool = False
    """It is the relay in helm's own process, which nobody can dial but its clients."""

    @property
    def finding(self) -> str:
        """The id of the finding about it."""
        return f"{self.role.value}:{self.name}"

    @property
    def todo(self) -> str:
        """What to look at when nobody answers."""
        if self.aboard:
            return "See what else listens on its port here (ss -ltnp), or choose another: beacon_port in helm's file."
        service = "pharos-buoy" if self.role is Role.NODE else "pharos-beacon"
        return f"There: systemctl status {service}; and see that TCP {self.port} of {self.host} is open to helm."

    @property
    def readopt(self) -> str:
        """What to do when it is not who it should be."""
        return f"See what answers at {self.host}; if its certificate ended: helm {self.role.value}s readopt {self.name}"


def members_of(nodes: Iterable[Node], relays: Iterable[Relay]) -> list[Member]:
    """Return those that helm keeps a link to."""
    return [
        *(
            Member(role=Role.NODE, id=node.id, name=node.name, host=node.address, port=node.control_port)
            for node in nodes
            if node.state in LINKED
        ),
        *(
            Member(
                role=Role.RELAY,
                id=relay.id,
                name=relay.name,
                host=relay.address,
                port=relay.tunnel_port,
                aboard=relay.aboard,
            )
            for relay in relays
            if relay.state in TUNNELLED
        ),
    ]


def check_fleet(nodes: Iterable[Node], relays: Iterable[Relay]) -> list[Finding]:
    """Say what a fleet needs and does not have."""
    findings = []
    if not any(node.state is NodeState.ACTIVE for node in nodes):
        findings.append(note("nodes", "There is no active node: devices have nowhere to connect to.", "helm nodes add"))
    if not any(relay.state is NodeState.ACTIVE for relay in relays):
        says = "There is no active relay: devices cannot enrol or sync."
        findings.append(note("relays", says, "helm relays add"))
    return findings


def check_exposure(warning: str | None) -> list[Finding]:
    """Say so where the beacon aboard lets other machines in; ``warning`` is what the running helm says of it."""
    return [] if not warning else [note("beacon", warning, "docs/guide/beacons.md")]


def check_condition(health: Mapping[str, Mapping[str, Any]]) -> list[Finding]:
    """Say what the running helm cannot write; ``health`` is what it says of each of its databases."""
    todo = (
        "Make room on the disk: it goes on by itself. If a database is corrupt, stop helm; its start says what to do."
    )
    return [
        problem(f"writing:{name}", f"helm cannot write {name}.db since {state['since']}: {state['reason']}.", todo)
        for name, state in health.items()
        if state["health"] != "writable"
    ]


def check_seen(members: Iterable[Member], seen: Mapping[str, Mapping[str, Any]]) -> list[Finding]:
    """Say how the running helm sees its members; ``seen`` is its picture of each, by id."""
    return [_seen(member, seen.get(member.id, {})) for member in members]


async def dial_members(authority: Authority, members: Iterable[Member], *, timeout: float = ANSWER) -> list[Finding]:
    """Dial each member, a few at once, and say who answered; ``timeout`` is in seconds."""
    findings: dict[str, Finding] = {}
    members = list(members)
    turns = trio.CapacityLimiter(AT_ONCE)

    async def dial(member: Member) -> None:
        async with turns:
            findings[member.finding] = await _dial(authority, member, timeout)

    async with trio.open_nursery() as nursery:
        for member in members:
            nursery.start_soon(functools.partial(dial, member))
    return [findings[member.finding] for member in members]


async def _dial(authority: Authority, member: Member, timeout: float) -> Finding:
    what = f"{member.role.value.capitalize()} {member.name}"
    began = trio.current_time()
    try:
        with trio.fail_after(timeout):
            stream, _ = await dial_member(authority, member.role, member.id, member.host, member.port)
    except LinkRefusedError as error:
        return problem(member.finding, f"{what} is refused: {error}.", member.readopt)
    except LinkLostError as error:
        return problem(member.finding, f"{what} does not answer: {error}.", member.todo)
    except trio.TooSlowError:
        return problem(member.finding, f"{what} does not answer within {timeout:g} s.", member.todo)
    await trio.aclose_forcefully(stream)
    return ok(member.finding, f"{what} answered in {(trio.current_time() - began) * 1000:.0f} ms.")


def _seen(member: Member, seen: Mapping[str, Any]) -> Finding:
    what = f"{member.role.value.capitalize()} {member.name}"
    link, detail = seen.get("link", "connecting"), seen.get("detail") or "no reason was given"
    if link == "up":
        return ok(member.finding, f"{what} is up.")
    if link == "connecting":
        return note(member.finding, f"{what} is being dialled.", "Look again in half a minute.")
    if link == "refused":
        return problem(member.finding, f"{what} is refused: {detail}.", member.readopt)
    return problem(member.finding, f"{what} does not answer ({link}): {detail}.", member.todo)
