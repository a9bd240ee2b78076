"""Acts on address pools that an admin asks for."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any, Final

from pharos.helm.accounts.users import check_name
from pharos.helm.errors import ConflictError, InvalidRequestError
from pharos.helm.model.devices import DeviceState
from pharos.helm.model.pools import FIRST_HOST, Pool, last_host_of
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.helm.store.devices import list_devices
from pharos.helm.store.fleet import get_fleet, next_revision, set_node_networks
from pharos.helm.store.ids import fresh_id
from pharos.helm.store.pools import POOLS, list_pools
from pharos.helm.store.records import add_record, change_record, check_version, get_record, remove_record

# Private space (RFC 1918) and what carriers and overlay networks share (RFC 6598).
_PRIVATE4: Final = tuple(map(ipaddress.IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")))
_ULA: Final = ipaddress.IPv6Network("fd00::/8")
# A /29 has five hosts for devices; 10.0.0.0/8 is the largest private network that there is.
SHORTEST4, LONGEST4 = 8, 29
# A fleet's own ULA prefix is a /48, and a /104 has as many hosts as 10.0.0.0/8.
SHORTEST6, LONGEST6 = 48, 104
# Where a device is likely to be when it dials in: its own network would hide the tunnel's, or the other way round.
USUAL: Final = (
    ("192.168.0.0/24", "home routers"),
    ("192.168.1.0/24", "home routers"),
    ("192.168.2.0/24", "home routers"),
    ("192.168.8.0/24", "mobile routers"),
    ("192.168.43.0/24", "phones that share their connection"),
    ("192.168.50.0/24", "home routers"),
    ("192.168.88.0/24", "home routers"),
    ("192.168.122.0/24", "libvirt"),
    ("192.168.178.0/24", "home routers"),
    ("10.0.0.0/24", "home routers"),
    ("10.0.1.0/24", "home routers"),
    ("10.0.2.0/24", "virtual machines"),
    ("10.1.1.0/24", "home routers"),
    ("10.42.0.0/16", "Kubernetes, and shared connections of NetworkManager"),
    ("10.43.0.0/16", "Kubernetes"),
    ("10.96.0.0/12", "Kubernetes"),
    ("10.244.0.0/16", "Kubernetes"),
    ("172.16.0.0/16", "companies and cloud networks"),
    ("172.17.0.0/16", "Docker"),
    ("172.18.0.0/16", "Docker"),
    ("172.20.10.0/28", "phones that share their connection"),
    ("172.31.0.0/16", "cloud networks"),
    ("100.64.0.0/10", "carriers and overlay networks"),
)


def add_pool(db: Database, act: Act, values: Mapping[str, Any]) -> Pool:
    """Write a new pool. Without an IPv6 network it gets the next free /64 of the fleet's own prefix.

    Where devices had addresses in its network before, it begins behind the highest of them.

    Raises: InvalidRequestError — a network does not fit. ConflictError — it overlaps another pool's, or the name is
    taken.
    """
    network4 = check_network4(values["network4"])
    network6 = check_network6(values.get("network6") or _free_network6(db), network4)
    _check_apart(db, network4, network6)
    pool = Pool(
        id=fresh_id(),
        name=check_name(values["name"], "pool"),
        network4=network4,
        network6=network6,
        next_host=_behind_all(db, network4, network6),
        last_host=last_host_of(network4),
    )
    return add_record(db, POOLS, pool, act, detail=pool.name)


def change_pool(db: Database, act: Act, pool_id: str, version: int, values: Mapping[str, Any]) -> Pool:
    """Change a pool's name, or its networks as long as every address that was given stays what it is.

    Raises: InvalidRequestError, ConflictError, StaleVersionError, NotFoundError.
    """
    pool = get_record(db, POOLS, pool_id)
    check_version(POOLS, pool, version)
    changes = dict(values)
    if "name" in changes:
        check_name(changes["name"], "pool")
    changes["network4"] = network4 = check_network4(changes.get("network4", pool.network4))
    changes["network6"] = network6 = check_network6(changes.get("network6", pool.network6), network4)
    changes["last_host"] = last_host_of(network4)
    if (network4, network6) != (pool.network4, pool.network6):
        _check_apart(db, network4, network6, besides=pool_id)
        _check_keeps(pool, network4, network6)
    changed = change_record(db, POOLS, pool_id, version, changes, act)
    fleet = get_fleet(db)
    if fleet.pool4 == pool.network4 and (network4, network6) != (fleet.pool4, fleet.pool6):
        set_node_networks(db, network4, network6)
        next_revision(db)
    return changed


def prefer_pool(db: Database, act: Act, pool_id: str, version: int) -> Pool:
    """Let new devices come into this pool first.

    Raises: StaleVersionError, NotFoundError.
    """
    check_version(POOLS, get_record(db, POOLS, pool_id), version)
    for other in list_pools(db):
        if other.preferred and other.id != pool_id:
            change_record(db, POOLS, other.id, other.version, {"preferred": False}, act, detail=other.name)
    pool = get_record(db, POOLS, pool_id)
    return change_record(db, POOLS, pool_id, version, {"preferred": True}, act, verb="preferred", detail=pool.name)


def remove_pool(db: Database, act: Act, pool_id: str, version: int) -> None:
    """Remove a pool that no device is in any more.

    Raises: ConflictError — a device is, or it is the one in which nodes have their own address, or the preferred one.
    StaleVersionError, NotFoundError.
    """
    pool = get_record(db, POOLS, pool_id)
    check_version(POOLS, pool, version)
    if pool.network4 == get_fleet(db).pool4:
        raise ConflictError(f"the nodes have their own address in {pool.name}, so it stays")
    if pool.preferred:
        raise ConflictError(f"new devices come into {pool.name}; prefer another pool first")
    network = ipaddress.ip_network(pool.network4)
    live = [device for device in list_devices(db) if device.state is not DeviceState.REVOKED]
    inside = sum(ipaddress.ip_address(device.address4) in network for device in live)
    if inside:
        raise ConflictError(f"{pool.name} still has {inside} devices; revoke them first")
    remove_record(db, POOLS, pool_id, version, act, detail=pool.name)


def warnings_of(pool: Pool) -> list[str]:
    """Return with which networks of other people a pool is likely to collide."""
    network = ipaddress.IPv4Network(pool.network4)
    return [
        f"{pool.network4} overlaps {usual}, which is common: {who}"
        for usual, who in USUAL
        if network.overlaps(ipaddress.IPv4Network(usual))
    ]


def check_network4(text: str) -> str:
    """Return an IPv4 network in its usual spelling.

    Raises: InvalidRequestError — it is none, not private, too small or too large.
    """
    try:
        network = ipaddress.IPv4Network(text)
    except ValueError as error:
        raise InvalidRequestError(f"{text!r} is not an IPv4 network such as 10.86.0.0/16") from error
    if not any(network.subnet_of(private) for private in _PRIVATE4):
        raise InvalidRequestError(
            f"{network} is not private; take a part of 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16"
        )
    if not SHORTEST4 <= network.prefixlen <= LONGEST4:
        raise InvalidRequestError(f"an IPv4 network of a pool is a /{SHORTEST4} to /{LONGEST4}, not {network}")
    return str(network)


def check_network6(text: str, network4: str) -> str:
    """Return an IPv6 network, with room for as many hosts as ``network4``, in its usual spelling.

    Raises: InvalidRequestError — it is none, no ULA, too small or too large.
    """
    try:
        network = ipaddress.IPv6Network(text)
    except ValueError as error:
        raise InvalidRequestError(f"{text!r} is not an IPv6 network such as fd12:3456:789a:1::/64") from error
    if not network.subnet_of(_ULA):
        raise InvalidRequestError(f"{network} is not a ULA; take a part of {_ULA} (RFC 4193)")
    if not SHORTEST6 <= network.prefixlen <= LONGEST6:
        raise InvalidRequestError(f"an IPv6 network of a pool is a /{SHORTEST6} to /{LONGEST6}, not {network}")
    assert network.num_addresses >= ipaddress.IPv4Network(network4).num_addresses, "a /104 holds a /8"
    return str(network)


def _check_apart(db: Database, network4: str, network6: str, *, besides: str = "") -> None:
    for other in list_pools(db):
        for ours, theirs in ((network4, other.network4), (network6, other.network6)):
            if other.id != besides and ipaddress.ip_network(ours).overlaps(ipaddress.ip_network(theirs)):
                raise ConflictError(f"{ours} overlaps {theirs} of the pool {other.name}")


def _check_keeps(pool: Pool, network4: str, network6: str) -> None:
    if pool.next_host == FIRST_HOST:
        return
    highest = pool.next_host - 1
    wider = Pool(id=pool.id, name=pool.name, network4=network4, network6=network6, last_host=last_host_of(network4))
    if highest > wider.last_host or wider.addresses(highest) != pool.addresses(highest):
        raise ConflictError(
            f"devices have addresses in {pool.network4} and {pool.network6}: networks that replace them"
            f" have to begin where they do and hold host {highest}"
        )


def _behind_all(db: Database, network4: str, network6: str) -> int:
    # Revoked devices count, for no address is ever given twice.
    used = FIRST_HOST - 1
    for network in map(ipaddress.ip_network, (network4, network6)):
        for device in list_devices(db):
            address = ipaddress.ip_address(device.address4 if network.version == 4 else device.address6)
            if address in network:
                used = max(used, int(address) - int(network.network_address))
    return min(used, last_host_of(network4)) + 1


def _free_network6(db: Database) -> str:
    prefix = ipaddress.IPv6Network(get_fleet(db).pool6).supernet(new_prefix=SHORTEST6)
    taken = [ipaddress.IPv6Network(pool.network6) for pool in list_pools(db)]
    for subnet in prefix.subnets(new_prefix=64):
        if not any(subnet.overlaps(other) for other in taken):
            return str(subnet)
    raise ConflictError(f"every /64 of {prefix} is taken; name another IPv6 network")
