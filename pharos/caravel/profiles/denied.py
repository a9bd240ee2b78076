"""Whom this device never dials again: what it keeps of the fleet's signed deny list (security.md §2a)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import attrs

from pharos.wire.pki.denylist import DenyList, tunnel_key_hash
from pharos.wire.pki.roles import Role


@attrs.frozen(kw_only=True)
class Denied:
    """What a verified list says to a device; it was verified when it came, and the keys that signed it may be gone."""

    order: tuple[int, int] = (0, 0)
    """(epoch, version); zeros before the first list."""
    nodes: frozenset[str] = frozenset()
    relays: frozenset[str] = frozenset()
    keys: frozenset[str] = frozenset()
    """`tunnel_key_hash` of AmneziaWG keys, hexadecimal."""

    @classmethod
    def of(cls, deny_list: DenyList) -> Self:
        """Take what concerns a device."""
        members = [entry.member for entry in deny_list.entries if entry.member is not None]
        hashes = (entry.tunnel_key_hash for entry in deny_list.entries)
        return cls(
            order=deny_list.order,
            nodes=frozenset(member.id for member in members if member.role is Role.NODE),
            relays=frozenset(member.id for member in members if member.role is Role.RELAY),
            keys=frozenset(key.hex() for key in hashes if key is not None),
        )

    def denies_node(self, node_id: str, awg_key: bytes) -> bool:
        """Tell whether a node is out, by its id or by its key."""
        return node_id in self.nodes or tunnel_key_hash(awg_key).hex() in self.keys

    def as_json(self) -> dict[str, Any]:
        """Return it for a state file."""
        return {
            "order": list(self.order),
            "nodes": sorted(self.nodes),
            "relays": sorted(self.relays),
            "keys": sorted(self.keys),
        }

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Self:
        """Read it.

        Raises: KeyError, TypeError, ValueError — it is none.
        """
        epoch, version = map(int, body["order"])
        return cls(
            order=(epoch, version),
            nodes=frozenset(map(str, body["nodes"])),
            relays=frozenset(map(str, body["relays"])),
            keys=frozenset(map(str, body["keys"])),
        )
