"""helm's own services behind an onboarding that runs in helm itself, in the name of who began it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

import attrs

from pharos.helm.ca.live import LiveAuthority
from pharos.helm.fleet.nodes import change_node, move_node, push_node, remove_node
from pharos.helm.fleet.relays import change_relay, move_relay, remove_relay
from pharos.helm.live.board import Board, now_us
from pharos.helm.model.admins import Principal, Role
from pharos.helm.model.nodes import NodeAct, NodeState
from pharos.helm.onboard.agents import NewNode, NewRelay, adopt_node, adopt_relay
from pharos.helm.onboard.join.desk import Adopted, Seen
from pharos.helm.onboard.join.parts import Part
from pharos.helm.onboard.join.seeing import see_node, see_relay
from pharos.helm.onboard.readopt import readopt
from pharos.helm.store.admins import check_principal
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database, Store
from pharos.helm.store.fleet import get_fleet
from pharos.helm.store.nodes import NODES
from pharos.helm.store.records import Noun, find_record, get_record
from pharos.helm.store.relays import RELAYS
from pharos.wire.agent import AgentRequest
from pharos.wire.link import LinkState

T = TypeVar("T")
SCOPE = "onboardings"
_NOUNS: dict[Part, Noun[Any]] = {Part.BUOY: NODES, Part.BEACON: RELAYS}


@attrs.frozen(kw_only=True)
class ServiceDesk:
    """See `Desk`. Whether ``who`` still may is looked at in the transaction of each act (security.md row 55)."""

    store: Store
    authorities: LiveAuthority
    board: Board
    who: Principal
    running: ClassVar[bool] = True

    async def fleet(self) -> str:
        """See `Desk`."""
        return (await self.store.read(get_fleet)).id

    async def adopt(self, part: Part, record: dict[str, Any]) -> Adopted:
        """See `Desk`."""
        values = dict(record)
        request = AgentRequest.parse(values.pop("request"))

        def write(db: Database, act: Act) -> Adopted:
            authority = self.authorities.current
            if part is Part.BUOY:
                node, grant = adopt_node(db, act, authority, request, NewNode(**values))
                return Adopted(id=node.id, name=node.name, grant=grant.render())
            relay, grant = adopt_relay(db, act, authority, request, NewRelay(**values))
            return Adopted(id=relay.id, name=relay.name, grant=grant.render())

        return await self._acting(write)

    async def readopt(self, part: Part, member_id: str, request: str, *, new_keys: bool) -> Adopted:
        """See `Desk`."""
        parsed = AgentRequest.parse(request)

        def write(db: Database, act: Act) -> Adopted:
            version = get_record(db, _NOUNS[part], member_id).version
            role, authority = part.agent.role, self.authorities.current
            done = readopt(db, act, authority, role, member_id, version, parsed, new_keys=new_keys)
            return Adopted(id=done.record.id, name=done.record.name, grant=done.grant.render())

        return await self._acting(write)

    async def remember(self, part: Part, member_id: str, destination: str, host_key: str) -> None:
        """See `Desk`."""
        values = {"ssh_destination": destination, "ssh_host_key": host_key}

        def write(db: Database, act: Act) -> None:
            version = get_record(db, _NOUNS[part], member_id).version
            (change_node if part is Part.BUOY else change_relay)(db, act, member_id, version, values)

        await self._acting(write)

    async def nudge(self, part: Part, member_id: str) -> None:
        """See `Desk`."""

        def write(db: Database, act: Act) -> None:
            push_node(db, act, member_id, get_record(db, NODES, member_id).version)

        if part is Part.BUOY:
            await self._acting(write)

    async def see(self, part: Part, member_id: str) -> Seen:
        """See `Desk`."""
        if part is Part.BUOY:
            return await see_node(self.authorities.current, await self.store.read(get_record, NODES, member_id))
        seen = await see_relay(self.authorities.current, await self.store.read(get_record, RELAYS, member_id))
        # What a relay is told, it is told on the link that helm keeps.
        return attrs.evolve(seen, ordered=self.board.of(member_id).state is LinkState.UP)

    async def find(self, part: Part, name: str) -> dict[str, Any] | None:
        """See `Desk`."""
        noun = _NOUNS[part]

        def read(db: Database) -> dict[str, Any] | None:
            row = db.execute(f"SELECT id FROM {noun.table} WHERE name = ?", (name,)).fetchone()  # noqa: S608
            record = None if row is None else find_record(db, noun, row["id"])
            return None if record is None else noun.view(record)

        return await self.store.read(read)

    async def forget(self, part: Part, member_id: str) -> None:
        """See `Desk`."""

        def write(db: Database, act: Act) -> None:
            move, remove = (move_node, remove_node) if part is Part.BUOY else (move_relay, remove_relay)
            record: Any = get_record(db, _NOUNS[part], member_id)
            if record.state is not NodeState.REVOKED:
                record = move(db, act, member_id, record.version, NodeAct.REVOKE)
            remove(db, act, member_id, record.version)

        await self._acting(write)

    async def _acting(self, write: Callable[[Database, Act], T]) -> T:
        act = Act(actor=self.who.name, at=now_us(), via=self.who.via.value)

        def checked(db: Database) -> T:
            check_principal(db, self.who, Role.ADMIN, noun=SCOPE, at=act.at)
            return write(db, act)

        return await self.store.run(checked)
