"""What the daemons of bench.agents find on disk: a place in the fleet, and a node's peers.

Every device's keys follow from its number, so that the processes of the bench need not tell each other.
"""

from __future__ import annotations

import functools
import hashlib
import json
import random
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Final

import trio

from pharos.buoy.state import DesiredState
from pharos.wire.agent import AgentKeys, AgentRequest
from pharos.wire.awg.generate import generate
from pharos.wire.awg.params import ObfuscationParameters
from pharos.wire.desired import Desired, Fence, Peer
from pharos.wire.files import open_state_directory
from pharos.wire.ids import DeviceId
from pharos.wire.noise.keys import KeyPair
from pharos.wire.pki.roles import Role
from pharos.wire.reality.params import RealityParameters
from tests.support.agents import grant_for
from tests.support.pki import SampleFleet, utc_now
from tests.support.reality import NAME, SHORT_ID
from tests.support.rpc import HOST

NODE: Final = "server"
RELAY: Final = "relay"
"""Names under which `bench._wire_fleet` knows them."""
NODE_ADDRESS: Final = "10.64.0.1"
FIRST_FENCE: Final = Fence(1, 1, 1)
_FIRST4, _FIRST6 = IPv4Address("10.64.0.2"), IPv6Address("fd86::2")
_GENERATION: Final = 1


@functools.cache
def parameters() -> ObfuscationParameters:
    """Return what the node's AmneziaWG speaks."""
    return generate(random.Random(1).randbytes)


def keys_of(number: int) -> tuple[KeyPair, KeyPair]:
    """Return a device's AmneziaWG key and its derive key."""
    awg, derive = (hashlib.sha256(b"%s %d" % (use, number)).digest() for use in (b"awg", b"derive"))
    return KeyPair.from_private_bytes(awg), KeyPair.from_private_bytes(derive)


def peer_of(number: int) -> Peer:
    """Return a device as a node has to know it."""
    awg, derive = keys_of(number)
    return Peer(
        device_id=device_of(number),
        awg_key=awg.public,
        derive_key=derive.public,
        generation=_GENERATION,
        addresses=(f"{_FIRST4 + number}/32", f"{_FIRST6 + number}/128"),
    )


def device_of(number: int) -> DeviceId:
    return DeviceId(f"device-{number}")


def join(state: Path, fleet: SampleFleet, role: Role, name: str) -> AgentRequest:
    """Make the owner of a state directory a member; return its public keys."""
    keys = AgentKeys(open_state_directory(state), role)
    request = keys.make_request()
    keys.install(grant_for(request, name=name, fleet=fleet), now=utc_now())
    return request


def order(state: Path, peers: Iterable[Peer], *, target: int) -> None:
    """Keep what helm would have pushed: these peers, for both protocols, with a site at a port of this machine."""
    desired = Desired(
        fence=FIRST_FENCE,
        awg=parameters(),
        reality=RealityParameters(
            target=f"{HOST}:{target}", server_names=(NAME,), short_ids=(SHORT_ID.hex(),), generation=_GENERATION
        ),
        addresses=(NODE_ADDRESS,),
        peers={peer.device_id: peer for peer in peers},
    )
    trio.run(DesiredState(state).replace, desired)


def config(folder: Path, name: str, **values: str | int) -> Path:
    """Write a daemon's TOML file."""
    path = folder / f"{name}.toml"
    # A JSON string is a TOML string, and so are numbers.
    path.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items()))
    return path
