"""Who puts back which change, by the kind that the journal has noted it as."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pharos.caravel.system.dnsfile import RESOLV_CONF, undo_resolv_conf
from pharos.caravel.system.dnsresolvconf import RESOLVCONF, undo_resolvconf
from pharos.caravel.system.killswitch import NFT, undo_nft
from pharos.caravel.system.restore import Undo
from pharos.caravel.system.routing import ROUTING, SWITCH, undo_routing, undo_switch
from pharos.caravel.system.splittable import SPLIT, undo_split

HELD: Final = frozenset({NFT, SPLIT})
"""What stays while a kill switch does: without its mark a packet that shall go in would go elsewhere."""
UNDOERS: Final[Mapping[str, Undo]] = {
    NFT: undo_nft,
    ROUTING: undo_routing,
    SWITCH: undo_switch,
    SPLIT: undo_split,
    RESOLV_CONF: undo_resolv_conf,
    RESOLVCONF: undo_resolvconf,
}
