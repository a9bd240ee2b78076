"""Before the first push: a helm that was restored asks each node what it has."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import attrs

from pharos.helm.backup.adoption import MAX_WAITING, take_inventory
from pharos.helm.ca.live import LiveAuthority
from pharos.helm.errors import ConflictError
from pharos.helm.live.board import now_us
from pharos.helm.model.adoptions import Inventory
from pharos.helm.model.nodes import Node
from pharos.helm.store.adoptions import must_be_read
from pharos.helm.store.database import Store
from pharos.wire.convert import fence_from, peer_from
from pharos.wire.desired import Fence, Peer
from pharos.wire.errors import LinkRefusedError, RemoteProtocolError
from pharos.wire.gen.pharos.buoy.v1 import control_grpc
from pharos.wire.gen.pharos.buoy.v1 import control_pb2 as pb
from pharos.wire.units import SECONDS

# Ten parts of 1,000 peers; a slow line sends such a megabyte in half a minute.
TIMEOUT: Final = 60 * SECONDS
# As many as the record may hold of strangers, and as many again that it knows.
MAX_PEERS: Final = 2 * MAX_WAITING


@attrs.define(eq=False)
class FirstReading:
    """Asks each node once an epoch, and knows the epoch, which a node's answer may raise."""

    _store: Store
    _authorities: LiveAuthority
    epoch: int
    """What every push is to name."""

    async def __call__(self, node: Node, stub: control_grpc.ControlStub) -> None:
        """Read a node if it has to be; then it may be told what to do.

        Raises: LinkRefusedError — it tells what cannot be. RemoteProtocolError, GRPCError — it does not answer right.
        """
        if not await self._store.read(must_be_read, node.id):
            return
        inventory = inventory_from(await stub.Inventory(pb.InventoryRequest(), timeout=TIMEOUT))
        try:
            taken = await self._store.run(take_inventory, self._authorities.current, node.id, inventory, at=now_us())
        except ConflictError as error:
            raise LinkRefusedError(str(error)) from error
        self.epoch = max(self.epoch, taken.epoch)


def inventory_from(parts: Iterable[pb.InventoryPart]) -> Inventory:
    """Put the parts of an answer together.

    Raises: RemoteProtocolError — a value does not fit, or there are too many.
    """
    applied, deny_list, checkpoint = Fence(), b"", b""
    peers: list[Peer] = []
    for number, part in enumerate(parts):
        if number == 0:
            applied, deny_list, checkpoint = fence_from(part.applied), part.deny_list, part.checkpoint
        peers += map(peer_from, part.peers)
        if len(peers) > MAX_PEERS:
            raise RemoteProtocolError(f"an inventory of more than {MAX_PEERS} peers")
    return Inventory(applied=applied, peers=tuple(peers), deny_list=deny_list, checkpoint=checkpoint)
