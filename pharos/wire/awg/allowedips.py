"""Which peer an inner address belongs to: WireGuard's cryptokey routing (wireguard.pdf §2)."""

from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final, Generic, TypeAlias, TypeVar

Network: TypeAlias = IPv4Network | IPv6Network
Place: TypeAlias = bytes | Network
"""A network, or in its stead the packed address if it has only one: a tenth of the memory, and most peers have such."""
T = TypeVar("T")

MAX_CACHED: Final = 16_384
"""Addresses remembered with their peer, about 2.5 MB: the flows of a busy node with ten thousand peers, yet bounded."""


class AllowedIps(Generic[T]):
    """Longest prefix match for both families: whole addresses first, then a cache, then a dictionary per prefix length.

    A network belongs to one owner; whoever takes it last has it, as in every WireGuard.
    """

    def __init__(self) -> None:
        # By packed length of the address (4 or 16) so that the families never meet.
        self._tables: dict[int, dict[int, dict[int, T]]] = {4: {}, 16: {}}
        # The shortest shift first, which is the longest prefix; with each the way to ask its dictionary.
        self._searches: dict[int, list[tuple[int, Callable[[int], T | None]]]] = {4: [], 16: []}
        # Most peers have one address; such networks are found at once, however many there are.
        self._hosts: dict[bytes, T] = {}
        self._cache: dict[bytes, T | None] = {}

    def add(self, place: Place, owner: T) -> None:
        network = compact(place)
        if isinstance(network, bytes):
            self._hosts[network] = owner
            return
        size, shift, key = _locate(network)
        table = self._tables[size]
        if shift not in table:
            table[shift] = {}
            self._plan(size)
        table[shift][key] = owner
        self._cache.clear()

    def remove(self, place: Place, owner: T) -> None:
        """Take a network from ``owner``; nothing happens if another has taken it over."""
        network = compact(place)
        if isinstance(network, bytes):
            if self._hosts.get(network) is owner:
                del self._hosts[network]
            return
        size, shift, key = _locate(network)
        table = self._tables[size]
        keys = table.get(shift, {})
        if keys.get(key) is owner:
            del keys[key]
            if not keys:
                del table[shift]
                self._plan(size)
            self._cache.clear()

    def owner(self, place: Place) -> T | None:
        """Return whose the network itself is."""
        network = compact(place)
        if isinstance(network, bytes):
            return self._hosts.get(network)
        size, shift, key = _locate(network)
        return self._tables[size].get(shift, {}).get(key)

    def find(self, address: bytes) -> T | None:
        """Return the owner of the longest network that holds a packed address of 4 or 16 bytes."""
        owner = self._hosts.get(address)
        if owner is not None:
            return owner
        if address in self._cache:
            return self._cache[address]
        owner = self._search(address)
        if len(self._cache) >= MAX_CACHED:
            self._cache.clear()
        self._cache[address] = owner
        return owner

    def _search(self, address: bytes) -> T | None:
        value = int.from_bytes(address, "big")
        for shift, get in self._searches[len(address)]:
            owner = get(value >> shift)
            if owner is not None:
                return owner
        return None

    def _plan(self, size: int) -> None:
        table = self._tables[size]
        self._searches[size] = [(shift, table[shift].get) for shift in sorted(table)]


def compact(place: Place) -> Place:
    """Bring a network to the smallest form."""
    if isinstance(place, bytes) or place.prefixlen < place.max_prefixlen:
        return place
    return place.network_address.packed


def expand(place: Place) -> Network:
    """The network that a place stands for."""
    return ip_network(place) if isinstance(place, bytes) else place


def _locate(network: Network) -> tuple[int, int, int]:
    packed = network.network_address.packed
    shift = network.max_prefixlen - network.prefixlen
    return len(packed), shift, int.from_bytes(packed, "big") >> shift
