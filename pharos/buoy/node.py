"""The node itself: takes pushes in order, persists before it acts, and reports what it is."""

from __future__ import annotations

import time

import trio

import pharos
from pharos.buoy.dataplane.base import DataPlane
from pharos.buoy.state import DesiredState
from pharos.wire.agent import AgentKeys, Membership
from pharos.wire.convert import NodeReport, PeerReport
from pharos.wire.desired import Desired, Push
from pharos.wire.ids import NodeId
from pharos.wire.noise.keys import KeyPair


class Node:
    """Between the control service and the data plane."""

    def __init__(self, *, membership: Membership, keys: AgentKeys, state: DesiredState, plane: DataPlane) -> None:
        self._id = NodeId(membership.identity.id)
        self._awg_key = KeyPair.from_private_bytes(keys.awg_key).public
        self._derive_key = keys.derive_key.public
        self._state = state
        self._plane = plane
        self._turn = trio.Lock()
        self._started_at = _now()

    @property
    def desired(self) -> Desired:
        """What helm said last."""
        return self._state.current

    async def push(self, push: Push) -> Desired:
        """Persist a change set, then carry it out; return what holds now.

        Raises: RemoteProtocolError — the push is refused and nothing has changed.
        """
        async with self._turn:
            desired = self._state.current.after(push)
            self._plane.check(desired)
            # A helm that goes away in the middle must not leave disk and engine apart.
            with trio.CancelScope(shield=True):
                await self._state.replace(desired)
                await self._plane.apply(desired)
        return desired

    def report(self) -> NodeReport:
        """Return the node's status."""
        desired = self._state.current
        counters = {entry.device_id: entry for entry in self._plane.counters()}
        peers = []
        for device_id, peer in desired.peers.items():
            seen = counters.get(device_id)
            peers.append(
                PeerReport(
                    device_id=device_id,
                    awg_key=peer.awg_key,
                    last_handshake=seen.last_handshake if seen else 0,
                    received=seen.received if seen else 0,
                    sent=seen.sent if seen else 0,
                    commitment=self._plane.commitment(device_id),
                )
            )
        return NodeReport(
            node_id=self._id,
            version=pharos.__version__,
            applied=desired.fence,
            started_at=self._started_at,
            awg_key=self._awg_key,
            derive_key=self._derive_key,
            awg_port=self._plane.port,
            awg=desired.awg,
            addresses=desired.addresses,
            peers=tuple(peers),
        )


def _now() -> int:
    return time.time_ns() // 1000
