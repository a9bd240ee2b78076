"""A helm with a few people, devices and sessions, and what its long lists say of them."""

from __future__ import annotations

from typing import Any

import attrs
import httpx
import msgspec

from pharos.helm.live.board import now_us
from pharos.helm.model.telemetry import NodeEvent, NodeReading, PeerReading
from pharos.helm.model.users import Group, User
from pharos.helm.store.bundles import Bundle, note_held, put_bundle
from pharos.helm.store.database import Database
from pharos.helm.store.ids import fresh_id
from pharos.helm.store.records import add_record, change_record
from pharos.helm.store.users import GROUPS, USERS, add_member
from pharos.helm.telemetry.backlog import Batch
from pharos.helm.telemetry.ingest import write_batch
from pharos.helm.web.views.shapes import DeviceRows, OrderView, ProfileRows, SessionRows, UserRows
from pharos.wire.ids import DeviceId, NodeId
from tests.support.helm import SampleHelm, adopt_sample_node, enrol_sample_device, sample_act
from tests.support.nouns import API

SECOND = 1_000_000
_SHAPES: dict[str, type] = {"devices": DeviceRows, "users": UserRows, "sessions": SessionRows, "profiles": ProfileRows}
DAY = 86_400 * SECOND


@attrs.frozen(kw_only=True)
class People:
    """What `settle` made."""

    ada: User
    bob: User
    office: Group
    node: NodeId
    phone: DeviceId
    """Ada's; online."""
    laptop: DeviceId
    """Ada's; it has never been seen."""
    tablet: DeviceId
    """Bob's; it was here yesterday."""
    spare: DeviceId
    """Nobody's."""

    @property
    def names(self) -> dict[str, str]:
        """What tests call the devices, by id."""
        return {self.phone: "phone", self.laptop: "laptop", self.tablet: "tablet", self.spare: "spare"}


async def settle(helm: SampleHelm) -> People:
    """Fill a helm: one node, two users, a group of one of them, four devices, of which one is online."""
    node, _ = await helm.store.run(adopt_sample_node, helm.authority, "amsterdam")

    def write(db: Database) -> People:
        ada = add_record(db, USERS, User(id=fresh_id(), name="Ada", email="ada@example.org"), sample_act())
        bob = add_record(db, USERS, User(id=fresh_id(), name="Bob"), sample_act())
        office = add_record(db, GROUPS, Group(id=fresh_id(), name="office"), sample_act())
        add_member(db, office.id, ada.id, sample_act())
        return People(
            ada=ada,
            bob=bob,
            office=office,
            node=node.id,
            phone=enrol_sample_device(db, 1, "phone", user_id=ada.id).id,
            laptop=enrol_sample_device(db, 2, "Laptop", user_id=ada.id).id,
            tablet=enrol_sample_device(db, 3, "tablet", user_id=bob.id).id,
            spare=enrol_sample_device(db, 4, "spare").id,
        )

    people = await helm.store.run(write)
    await tell(helm, handshake(people.phone, people.node, ago=10), handshake(people.tablet, people.node, ago=86_400))
    return people


def handshake(device: DeviceId, node: NodeId, *, ago: float, protocol: str = "amneziawg") -> NodeEvent:
    """A device shook hands so many seconds ago."""
    at = now_us() - round(ago * SECOND)
    return NodeEvent(
        at=at, kind="handshake", node_id=node, device_id=device, detail="198.51.100.7:4000", protocol=protocol
    )


def reading(node: NodeId, *, ago: float, **peers: tuple[int, int]) -> NodeReading:
    """What a node's counters were so many seconds ago: by device, octets received from it and sent to it."""
    return NodeReading(
        node_id=node,
        at=now_us() - round(ago * SECOND),
        latency=2_500,
        peers={
            DeviceId(key): PeerReading(received=got, sent=sent, last_handshake=0) for key, (got, sent) in peers.items()
        },
        count=len(peers),
        sessions=len(peers),
    )


async def tell(helm: SampleHelm, *said: NodeEvent | NodeReading) -> None:
    """Have nodes tell what ends up in telemetry.db."""
    events = [one for one in said if isinstance(one, NodeEvent)]
    readings = [one for one in said if isinstance(one, NodeReading)]
    await helm.store.record(write_batch, Batch(events=events, readings=[], dropped={}), at=now_us())
    for one in readings:
        await helm.store.record(write_batch, Batch(events=[], readings=[one], dropped={}), at=now_us())


def give_profile(db: Database, device: DeviceId, *, sealed_ago: float, held: bool, revision: int = 1) -> None:
    """Seal a profile so many seconds ago, and have the device fetch it or not."""
    at = now_us() - round(sealed_ago * SECOND)
    epoch = db.execute("SELECT epoch FROM fleet").fetchone()[0]
    hash_ = bytes([revision]) * 32
    put_bundle(db, device, Bundle(epoch=epoch, revision=revision, profile_hash=hash_, sealed=b"c" * 100, sealed_at=at))
    db.execute(
        "UPDATE bundles SET checked_revision = (SELECT profiles_revision FROM fleet) WHERE device_id = ?", (device,)
    )
    if held:
        note_held(db, device, epoch=epoch, revision=revision, at=at)


def change_user(db: Database, user: User, **changes: Any) -> None:
    """Change a user's record as it is now."""
    version = db.execute("SELECT version FROM users WHERE id = ?", (user.id,)).fetchone()[0]
    change_record(db, USERS, user.id, version, changes, sample_act())


async def order(client: httpx.AsyncClient, kind: str, **query: str) -> dict[str, Any]:
    """Ask for an order."""
    answer = await client.get(f"{API}/views/{kind}", params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    msgspec.convert(found, OrderView, strict=True)
    return found


async def rows(client: httpx.AsyncClient, kind: str, *ids: str) -> list[dict[str, Any]]:
    """Ask for rows."""
    answer = await client.get(f"{API}/views/{kind}/rows", params={"ids": ",".join(ids)})
    assert answer.status_code == 200, answer.text
    msgspec.convert(answer.json(), _SHAPES[kind], strict=True)
    found: list[dict[str, Any]] = answer.json()["items"]
    return found
