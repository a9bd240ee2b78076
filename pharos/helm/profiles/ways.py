"""The ways in to a node, as a profile lists them: what is in use first, then what was before a re-issue. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from pharos.helm.model.nodes import Node
from pharos.helm.model.users import Protocol
from pharos.helm.profiles.record import FleetRecord
from pharos.helm.store.realitykeys import ServedReality
from pharos.wire.awg.params import ObfuscationParameters
from pharos.wire.profile import Access, AmneziaWgAccess, RealityAccess
from pharos.wire.reality.params import RealityParameters


def has_way(record: FleetRecord, node: Node, protocols: tuple[str, ...]) -> bool:
    """Whether a node can be reached by protocols of these names, by any if there are none.

    One that serves no REALITY, or has not proven its key, is not reached by that.
    """
    if _allows(protocols, Protocol.AMNEZIAWG):
        return True
    return _allows(protocols, Protocol.REALITY) and any(_by_reality(record, node))


def ways_of(record: FleetRecord, node: Node, protocols: tuple[str, ...]) -> tuple[Access, ...]:
    """Return where a node may be found by protocols of these names, by any if there are none; best first.

    On its spare ports the parameters of today will be found when they are yesterday's, for who was away meanwhile. The
    old ones are where they moved to, or still on the first port at a node that has not heard of the new.
    """
    now: list[Access] = []
    before: list[Access] = []
    if _allows(protocols, Protocol.AMNEZIAWG):
        now += _by_amneziawg(node, node.awg_parameters, (node.awg_port, *node.spare_ports))
        for old in record.previous.get(node.id, ()):
            if old.awg is not None:
                before += _by_amneziawg(node, old.awg, (old.port, node.awg_port))
    if _allows(protocols, Protocol.REALITY):
        current, previous = _by_reality(record, node)
        now += current
        before += previous
    return (*now, *before)


def _allows(protocols: tuple[str, ...], protocol: Protocol) -> bool:
    return not protocols or protocol.value in protocols


def _by_amneziawg(node: Node, parameters: ObfuscationParameters, ports: tuple[int, ...]) -> Iterator[AmneziaWgAccess]:
    for port in ports:
        yield AmneziaWgAccess(host=node.address, port=port, public_key=node.awg_key, parameters=parameters)


def _by_reality(record: FleetRecord, node: Node) -> tuple[list[RealityAccess], list[RealityAccess]]:
    """Return the ways in by what is in use, and by what was before."""
    served = record.reality.get(node.id)
    if served is None:
        return [], []
    before: list[RealityAccess] = []
    for old in record.previous.get(node.id, ()):
        before += _with_key(node, served, old.reality, (old.port, served.port))
    return list(_with_key(node, served, node.reality, (served.port, *node.spare_ports))), before


def _with_key(
    node: Node, served: ServedReality, parameters: RealityParameters | None, ports: tuple[int, ...]
) -> Iterator[RealityAccess]:
    key = None if parameters is None else served.keys.get(parameters.generation)
    if parameters is None or key is None:
        return
    for port in ports:
        yield RealityAccess(
            host=node.address,
            port=port,
            public_key=key.public_key,
            proof=key.proof,
            generation=key.generation,
            server_names=parameters.server_names,
            short_ids=parameters.short_ids,
        )
