"""The life of a node on its disk: it joins, is told of trust, peers and whom to deny, renews, and counts quotas."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from pharos.beacon.decoy.certificate import own_certificate
from pharos.buoy import state as desired_state
from pharos.buoy.dataplane.base import PeerCounters
from pharos.buoy.quota import QuotaMeter
from pharos.buoy.state import DesiredState, desired_to_json
from pharos.wire.agent import AgentKeys
from pharos.wire.desired import Fence, Push, QuotaLease
from pharos.wire.errors import WireError
from pharos.wire.files import StateFile
from pharos.wire.ids import DeviceId
from pharos.wire.keeping import Keeping
from pharos.wire.kept import load_kept, trust_file
from pharos.wire.pki.roles import Role
from tests.support.agents import grant_for
from tests.support.faultstories import Story, View
from tests.support.pki import home_fleet, utc_now
from tests.support.strategies import parameters_of, peer_of
from tests.support.trust import NEXT_SIGNING_KEY, Signer

HELM = Signer()
LOST = home_fleet().identity(Role.CONTROLLER, "lost")


def short(value: Any) -> str:
    """Return what tells one value from another."""
    return hashlib.sha256(repr(value).encode()).hexdigest()[:16]


def look_at_agent(state: Path, role: Role) -> View:
    """Return what a node or relay would come up with."""
    keys = AgentKeys(state, role)
    member = None
    if keys.exists:
        try:
            member = keys.membership(now=utc_now()).fingerprint.hex()
        except WireError as error:
            member = str(error)
    kept = load_kept(trust_file(state))
    return {
        "identity": [short(keys._body), member],
        "trust": short(attrs.evolve(kept, floor=0)),
        "deny list": short(kept.deny_list),
    }


def look_at_node(state: Path) -> View:
    meter = QuotaMeter(state)
    return {
        **look_at_agent(state, Role.NODE),
        "orders": short(desired_to_json(DesiredState(state).load())),
        "usage": short(sorted(meter._usages.items())),
    }


def look_at_relay(state: Path) -> View:
    decoy = StateFile(state / "decoy.json", "pharos/beacon-decoy/v1", "").load()
    return {**look_at_agent(state, Role.RELAY), "decoy": short(decoy)}


# -- changes


def ask(role: Role, state: Path) -> None:
    AgentKeys(state, role).make_request()


def join(role: Role, state: Path) -> None:
    keys = AgentKeys(state, role)
    keys.install(grant_for(keys.make_request()), now=utc_now())


def readopt(role: Role, state: Path) -> None:
    """Come back with a grant that brings a newer manifest, which the daemon takes when it starts."""
    keys = AgentKeys(state, role)
    grant = attrs.evolve(grant_for(keys.make_request()), manifest=HELM.manifest(5))
    keys.install(grant, now=utc_now())


def start(role: Role, state: Path) -> None:
    keeping_of(role, state)


def keeping_of(role: Role, state: Path) -> Keeping:
    keys = AgentKeys(state, role)
    return Keeping(state, keys, keys.membership(now=utc_now()))


def take(role: Role, state: Path, **news: bytes) -> None:
    keeping = keeping_of(role, state)
    trio.run(functools.partial(keeping.take, **news))


def renew(role: Role, state: Path) -> None:
    trio.run(keeping_of(role, state).renew)


def take_renewed(role: Role, state: Path) -> None:
    keeping = keeping_of(role, state)

    async def renewed() -> None:
        csr = await keeping.renew()
        await keeping.install(HELM.renewed(csr, keeping.standing.membership.identity))

    trio.run(renewed)


def push(state: Path, **said: Any) -> None:
    """Take one push, as after a start."""
    desired = DesiredState(state)
    desired.load(mend=True)
    trio.run(desired.replace, desired.current.after(Push(**said)))


def push_beyond_the_journal(state: Path) -> None:
    """Take a change while the journal is as long as it may be: it is taken into the file."""
    desired = DesiredState(state)
    desired.load(mend=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(desired_state, "MAX_JOURNAL", 10)
        fence = Fence(5, 2, 30)
        trio.run(desired.replace, desired.current.after(Push(fence=fence, snapshot=False, upsert=(peer_of(6),))))


def hurt(state: Path) -> None:
    """Damage the first copy, as a bad sector does; nothing is written to a disk that the next start mends."""
    path = state / "desired.json"
    with path.open("r+b", buffering=0) as file:
        file.seek(40)
        file.write(b"?")


def mend(state: Path) -> None:
    DesiredState(state).load(mend=True)


def count(state: Path, octets: int) -> None:
    meter = QuotaMeter(state)
    peer = attrs.evolve(peer_of(1), quota=QuotaLease(id=4, octets=1_000_000))
    meter.read({peer.device_id: peer}, [])
    counter = PeerCounters(device_id=DeviceId("device-1"), received=octets, sent=0, last_handshake=1)
    meter.read({peer.device_id: peer}, [counter])
    meter.save()


def show_decoy(state: Path) -> None:
    own_certificate(state, wall=utc_now, now=0)


def _agent(role: Role) -> list[Any]:
    act = functools.partial
    return [
        act(ask, role),
        act(join, role),
        act(take, role, manifest=HELM.manifest(3, next_key=NEXT_SIGNING_KEY)),
        act(take, role, deny_list=HELM.deny_list(version=1)),
        act(take, role, checkpoint=HELM.checkpoint(7)),
        act(renew, role),
        act(take_renewed, role),
        act(take, role, manifest=Signer(key=NEXT_SIGNING_KEY).manifest(4)),
        act(take, role, deny_list=Signer(key=NEXT_SIGNING_KEY).deny_list(LOST, version=2)),
        act(readopt, role),
        act(start, role),
    ]


def node_story() -> Story:
    """A node's."""
    act = functools.partial
    return Story(
        look=look_at_node,
        steps=[
            *_agent(Role.NODE),
            act(
                push,
                fence=Fence(5, 2, 7),
                snapshot=True,
                upsert=(peer_of(1), peer_of(2)),
                awg=parameters_of(1),
                addresses=("10.86.0.1",),
            ),
            act(push, fence=Fence(5, 2, 8), snapshot=False, upsert=(peer_of(3),)),
            act(push, fence=Fence(5, 2, 9), snapshot=False, remove=(DeviceId("device-2"),)),
            act(push, fence=Fence(5, 2, 10), snapshot=False, upsert=(peer_of(4),)),
            push_beyond_the_journal,
            hurt,
            mend,
            act(push, fence=Fence(5, 3, 1), snapshot=False, upsert=(peer_of(1, key=2),)),
            act(count, octets=500),
            act(count, octets=900),
        ],
    )


def relay_story() -> Story:
    """A relay's."""
    return Story(look=look_at_relay, steps=[*_agent(Role.RELAY), show_decoy])
