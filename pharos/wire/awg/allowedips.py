"""Which peer an inner address belongs to: WireGuard's cryptokey routing (wireguard.pdf §2)."""

from ipaddress import IPv4Network, IPv6Network
from typing import Final, Generic, TypeAlias, TypeVar

Network: TypeAlias = IPv4Network | IPv6Network
T = TypeVar("T")

MAX_CACHED: Final = 4096
"""Addresses remembered with their peer, about 0.5 MB: the flows of a busy node, yet bounded."""


class AllowedIps(Generic[T]):
    """Longest prefix match for both families: a dictionary per prefix length behind a cache of whole addresses.

    A network belongs to one owner; whoever takes it last has it, as in every WireGuard.
    """

    def __init__(self) -> None:
        # By packed length of the address (4 or 16) so that the families never meet.
        self._tables: dict[int, dict[int, dict[int, T]]] = {4: {}, 16: {}}
        self._lengths: dict[int, list[int]] = {4: [], 16: []}
        self._cache: dict[bytes, T | None] = {}

    def add(self, network: Network, owner: T) -> None:
        size, shift, key = _place(network)
        table = self._tables[size]
        if shift not in table:
            table[shift] = {}
            self._lengths[size] = sorted(table)
        table[shift][key] = owner
        self._cache.clear()

    def remove(self, network: Network, owner: T) -> None:
        """Take ``network`` from ``owner``; nothing happens if another has taken it over."""
        size, shift, key = _place(network)
        table = self._tables[size]
        keys = table.get(shift, {})
        if keys.get(key) is owner:
            del keys[key]
            if not keys:
                del table[shift]
                self._lengths[size] = sorted(table)
            self._cache.clear()

    def find(self, address: bytes) -> T | None:
        """Return the owner of the longest network that holds a packed address of 4 or 16 bytes."""
        try:
            return self._cache[address]
        except KeyError:
            owner = self._search(address)
        if len(self._cache) >= MAX_CACHED:
            self._cache.clear()
        self._cache[address] = owner
        return owner

    def _search(self, address: bytes) -> T | None:
        size = len(address)
        value = int.from_bytes(address, "big")
        table = self._tables[size]
        # The shortest shift is the longest prefix.
        for shift in self._lengths[size]:
            owner = table[shift].get(value >> shift)
            if owner is not None:
                return owner
        return None


def _place(network: Network) -> tuple[int, int, int]:
    packed = network.network_address.packed
    shift = network.max_prefixlen - network.prefixlen
    return len(packed), shift, int.from_bytes(packed, "big") >> shift
