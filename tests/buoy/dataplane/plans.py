"""Plans for the tests of AmneziaWG drivers."""

from __future__ import annotations

import os
import random
from ipaddress import IPv4Address

from pharos.buoy.dataplane.base import AwgEndpoint, AwgPeer, AwgPlan
from pharos.wire.awg.generate import generate
from pharos.wire.awg.keys import generate_private_key, public_key
from pharos.wire.awg.params import PLAIN, Generation
from pharos.wire.ids import DeviceId

NODE_KEY = generate_private_key(os.urandom)
DEVICE_KEYS = [generate_private_key(os.urandom) for _ in range(4)]
NOW, BEFORE, OLDER = (generate(random.Random(seed).randbytes, Generation.V3_1) for seed in (1, 2, 3))
"""The parameters in use, and those before them."""


def device(number: int, **changes: object) -> AwgPeer:
    """Return the peer of a device, which has an address of each family."""
    values: dict[str, object] = {
        "device_id": DeviceId(f"d{number}"),
        "public_key": public_key(DEVICE_KEYS[number]),
        "preshared_key": bytes([number + 1]) * 32,
        "addresses": (f"{IPv4Address('10.86.0.2') + number}/32", f"fd86::{number + 2:x}/128"),
    }
    return AwgPeer(**{**values, **changes})  # type: ignore[arg-type]


def plan_of(*peers: AwgPeer, endpoints: tuple[AwgEndpoint, ...] = (AwgEndpoint(port=443, parameters=NOW),)) -> AwgPlan:
    """Return a plan with these peers."""
    return AwgPlan(
        private_key=NODE_KEY,
        endpoints=endpoints,
        addresses=("10.86.0.1", "fd86::1"),
        networks=("10.86.0.0/16", "fd86::/48"),
        peers={peer.device_id: peer for peer in peers},
    )


def plain_plan(port: int, *peers: AwgPeer) -> AwgPlan:
    """Return the plan of a node that serves WireGuard itself."""
    return plan_of(*peers, endpoints=(AwgEndpoint(port=port, parameters=PLAIN),))
