"""What has to be said to an AmneziaWG engine so that it is a plan: the difference between its state and the plan, pure.

What stays is not named, so peers that stay keep their sessions. An endpoint is looked for by its port first: a set of
parameters that stays on its port is not touched, whatever is served beside it.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any, Final

import attrs

from pharos.buoy.dataplane.base import AwgEndpoint, AwgPeer, AwgPlan
from pharos.wire.awg.params import PLAIN, ObfuscationParameters
from pharos.wire.awg.texts import Network, read_network
from pharos.wire.awg.uapi import (
    NO_PRIVATE_KEY,
    OFF,
    DeviceChange,
    DeviceState,
    FaceChange,
    FaceState,
    PeerChange,
    PeerState,
    changed_parameters,
    parameter_changes,
)

MAIN_FACE: Final = 0
"""The device's own port; others are faces from 1, which only our engine has."""
NOTHING: Final = DeviceChange()
"""What is said to an engine that is the plan already."""
_ANY_PORT: Final = 0
"""The system chooses."""
_BITS: Final = 8
# Ten thousand devices of four networks; each is read from its text once.
_KNOWN_NETWORKS: Final = 40_000

network_of: Final = functools.lru_cache(maxsize=_KNOWN_NETWORKS)(read_network)
"""Reads a network of a device."""


def change_for(
    plan: AwgPlan,
    state: DeviceState | None,
    *,
    before: AwgPlan | None = None,
    has_faces: bool = True,
    has_rates: bool = True,
) -> DeviceChange:
    """Return what makes an engine in ``state`` be ``plan``; `NOTHING` if it is that already.

    Without a state everything is said, and all sessions end. An engine without faces serves the first endpoint only,
    one without rates limits nobody. Peers that ``before`` holds as the same objects were told already, and are not
    looked at: of ten thousand, one that changes then costs 8 ms instead of 50.

    Raises: ValueError — a peer's address is no network.
    """
    known = DeviceState() if state is None else state
    endpoints = plan.endpoints if has_faces else plan.endpoints[:1]
    if not endpoints:
        return _idle(known, whole=state is None)
    claims = _claims(endpoints, known)
    listen_port, parameters = _main_port(claims.pop(MAIN_FACE, None), endpoints[0], known, whole=state is None)
    return DeviceChange(
        private_key=plan.private_key if state is None or known.private_key != plan.private_key else None,
        listen_port=listen_port,
        parameters=parameters,
        faces=tuple(_face_changes(claims, known)) if has_faces else (),
        replace_peers=state is None,
        peers=tuple(_peer_changes(plan, known, before, has_rates=has_rates)),
    )


def differs(plan: AwgPlan, state: DeviceState, *, has_faces: bool = True, has_rates: bool = True) -> bool:
    """Tell whether an engine in ``state`` is something else than ``plan``."""
    return change_for(plan, state, has_faces=has_faces, has_rates=has_rates) != NOTHING


def state_after(state: DeviceState, change: DeviceChange) -> DeviceState:
    """Return what an engine says of itself after a change that it did not refuse.

    Where the system chose a port, 0 stands for it. Endpoints, counters and handshakes stay those of ``state``.
    """
    faces = {face.number: face for face in state.faces}
    for one in change.faces:
        if one.remove:
            faces.pop(one.number, None)
            continue
        face = faces.get(one.number, FaceState(number=one.number))
        faces[one.number] = attrs.evolve(
            face,
            listen_port=face.listen_port if one.listen_port is None else one.listen_port,
            parameters=changed_parameters(face.parameters, one.parameters),
        )
    peers = {} if change.replace_peers else {peer.public_key: peer for peer in state.peers}
    for each in change.peers:
        if each.remove:
            peers.pop(each.public_key, None)
        elif each.public_key in peers or not each.update_only:
            peers[each.public_key] = _peer_after(peers.get(each.public_key), each)
    parameters = change.parameters
    return DeviceState(
        private_key=state.private_key if change.private_key is None else change.private_key,
        listen_port=state.listen_port if change.listen_port is None else change.listen_port,
        fwmark=state.fwmark if change.fwmark is None else change.fwmark,
        parameters=changed_parameters(state.parameters, parameters) if parameters else state.parameters,
        faces=tuple(faces[number] for number in sorted(faces)),
        peers=tuple(peers.values()),
    )


def _idle(state: DeviceState, *, whole: bool) -> DeviceChange:
    """Serve nobody. An engine without a key is idle: that its port is one of the system's own cannot be seen."""
    serves = whole or state.private_key != NO_PRIVATE_KEY
    return DeviceChange(
        private_key=NO_PRIVATE_KEY if serves else None,
        listen_port=_ANY_PORT if serves else None,
        parameters=_all_of(PLAIN) if whole else parameter_changes(state.parameters, PLAIN),
        faces=tuple(FaceChange(number=face.number, remove=True) for face in state.faces),
        replace_peers=whole,
        peers=tuple(PeerChange(public_key=peer.public_key, remove=True) for peer in state.peers),
    )


def _claims(endpoints: tuple[AwgEndpoint, ...], state: DeviceState) -> dict[int, AwgEndpoint]:
    """Return which face serves which endpoint; a face that is left over goes."""
    faces = {face.number: face for face in (_main(state), *state.faces)}
    claims: dict[int, AwgEndpoint] = {}
    left: list[AwgEndpoint] = []
    for endpoint in endpoints:
        for number, face in faces.items():
            same = endpoint.parameters == face.parameters if endpoint.port == _ANY_PORT else _same_port(endpoint, face)
            if same and number not in claims:
                claims[number] = endpoint
                break
        else:
            left.append(endpoint)
    for endpoint in left:
        # A face that goes holds its port until it is gone, so its number is not used again at once.
        free = MAIN_FACE if MAIN_FACE not in claims else max(faces.keys() | claims.keys()) + 1
        claims[free] = endpoint
    return claims


def _same_port(endpoint: AwgEndpoint, face: FaceState) -> bool:
    return face.listen_port == endpoint.port


def _main(state: DeviceState) -> FaceState:
    return FaceState(number=MAIN_FACE, listen_port=state.listen_port, parameters=state.parameters)


def _main_port(
    claim: AwgEndpoint | None, current: AwgEndpoint, state: DeviceState, *, whole: bool
) -> tuple[int | None, Mapping[str, Any]]:
    """Return what to change of the device's own port and parameters.

    Nobody needs that port where a face serves the endpoint in use. It cannot be taken away, and its parameters set the
    timers: so it gets the current ones, and a port that the system chooses.
    """
    if claim is None:
        changes = parameter_changes(state.parameters, current.parameters)
        return (_ANY_PORT if changes else None), changes
    moved = whole or (claim.port not in (_ANY_PORT, state.listen_port))
    parameters = _all_of(claim.parameters) if whole else parameter_changes(state.parameters, claim.parameters)
    return (claim.port if moved else None), parameters


def _all_of(parameters: ObfuscationParameters) -> Mapping[str, Any]:
    return {field.name: getattr(parameters, field.name) for field in attrs.fields(ObfuscationParameters)}


def _face_changes(claims: Mapping[int, AwgEndpoint], state: DeviceState) -> Iterator[FaceChange]:
    faces = {face.number: face for face in state.faces}
    for number in faces.keys() - claims.keys():
        yield FaceChange(number=number, remove=True)
    for number, endpoint in sorted(claims.items()):
        face = faces.get(number)
        changes = parameter_changes(PLAIN if face is None else face.parameters, endpoint.parameters)
        if face is None or changes:
            # A face that is there was found by its port.
            yield FaceChange(number=number, listen_port=endpoint.port if face is None else None, parameters=changes)


def _peer_changes(
    plan: AwgPlan, state: DeviceState, before: AwgPlan | None, *, has_rates: bool
) -> Iterator[PeerChange]:
    known = {peer.public_key: peer for peer in state.peers}
    wanted = {peer.public_key: peer for peer in plan.peers.values()}
    told = {} if before is None else before.peers
    for public_key in known.keys() - wanted.keys():
        yield PeerChange(public_key=public_key, remove=True)
    for public_key, peer in wanted.items():
        if told.get(peer.device_id) is peer and public_key in known:
            continue
        change = _peer_change(peer, known.get(public_key), has_rates=has_rates)
        if change is not None:
            yield change


def _peer_change(peer: AwgPeer, known: PeerState | None, *, has_rates: bool) -> PeerChange | None:
    networks = tuple(map(network_of, peer.addresses))
    # Rounded up: a limit of a few bits is still one.
    rate = -(-peer.rate_limit // _BITS) if has_rates else 0
    if known is None:
        return PeerChange(
            public_key=peer.public_key,
            preshared_key=peer.preshared_key,
            allowed_ips=networks,
            send_rate=rate or None,
            receive_rate=rate or None,
        )
    changes: dict[str, Any] = {}
    if known.preshared_key != peer.preshared_key:
        changes["preshared_key"] = peer.preshared_key
    if known.persistent_keepalive is not None:
        changes["persistent_keepalive"] = OFF
    changes |= _network_changes(known.allowed_ips, networks)
    if has_rates:
        changes |= {name: rate for name in ("send_rate", "receive_rate") if getattr(known, name) != rate}
    return PeerChange(public_key=peer.public_key, **changes) if changes else None


def _network_changes(known: tuple[Network, ...], wanted: tuple[Network, ...]) -> dict[str, Any]:
    if known == wanted or set(known) == set(wanted):
        return {}
    if set(known) <= set(wanted):
        return {"allowed_ips": tuple(network for network in wanted if network not in known)}
    return {"replace_allowed_ips": True, "allowed_ips": wanted}


def _peer_after(known: PeerState | None, change: PeerChange) -> PeerState:
    peer = known or PeerState(public_key=change.public_key)
    networks = dict.fromkeys(() if change.replace_allowed_ips else peer.allowed_ips)
    networks |= dict.fromkeys(change.allowed_ips)
    for network in change.removed_ips:
        networks.pop(network, None)
    keepalive = change.persistent_keepalive
    return attrs.evolve(
        peer,
        preshared_key=peer.preshared_key if change.preshared_key is None else change.preshared_key,
        endpoint=change.endpoint or peer.endpoint,
        persistent_keepalive=peer.persistent_keepalive
        if keepalive is None
        else None
        if keepalive == OFF
        else keepalive,
        allowed_ips=tuple(networks),
        send_rate=peer.send_rate if change.send_rate is None else change.send_rate,
        receive_rate=peer.receive_rate if change.receive_rate is None else change.receive_rate,
    )
