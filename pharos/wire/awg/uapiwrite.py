"""Writes replies and requests of the UAPI, and reads replies: what an engine sends and what its manager does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from pharos.wire.awg.confkeys import PARAMETER_NAMES
from pharos.wire.awg.params import GENERATION_OF, Generation, ObfuscationParameters, UncheckedParameters
from pharos.wire.awg.texts import read_endpoint, read_hex_key, read_keepalive, read_network, write_endpoint
from pharos.wire.awg.uapi import (
    DeviceChange,
    DeviceState,
    FaceChange,
    FaceState,
    PeerChange,
    PeerState,
    read_parameter,
    write_parameter,
)
from pharos.wire.errors import ParameterError, RemoteProtocolError

_BILLION: Final = 1_000_000_000


def render_errno(number: int) -> str:
    """End a reply: 0 for success, else a number of ``errno``, negative as both Go engines write it."""
    return f"errno={-abs(number)}\n\n"


def render_state(state: DeviceState) -> str:
    """Write the reply to `get`, private and preshared keys included."""
    return "\n".join(_state_lines(state)) + "\n" + render_errno(0)


def render_change(change: DeviceChange, generation: Generation, *, ours: bool = False) -> str:
    """Write a `set` request with the keys that an engine of ``generation`` knows; ``ours`` it may be told more.

    An older engine leaves a request with an unknown key half done, so such a key is never sent.

    Raises: ParameterError — a value needs a later generation, or another engine than ours.
    """
    return "\n".join(("set=1", *_change_lines(change, generation, ours=ours))) + "\n\n"


def parse_reply(text: str) -> tuple[DeviceState, int]:
    """Read the whole reply to `get` or `set`: a state, which is bare after `set`, and the errno, positive.

    Keys of a newer engine are passed over.

    Raises: RemoteProtocolError — a line or a value does not fit, or the end is missing.
    """
    body, found, number = text.removesuffix("\n\n").rpartition("errno=")
    if not text.endswith("\n\n") or not found or not number.removeprefix("-").isdecimal():
        raise RemoteProtocolError("UAPI: the reply has no errno at its end")
    device: dict[str, Any] = {"parameters": {}}
    faces: list[dict[str, Any]] = []
    peers: list[dict[str, Any]] = []
    try:
        for line in body.splitlines():
            key, _, value = line.partition("=")
            if key == "public_key":
                peers.append({"public_key": read_hex_key(value)})
            elif peers:
                _read_peer(peers[-1], key, value)
            elif key == "face":
                faces.append({"number": int(value), "parameters": {}})
            elif key.startswith("face_") and faces:
                _read_device(faces[-1], key.removeprefix("face_"), value)
            else:
                _read_device(device, key, value)
        return DeviceState(
            **_with_parameters(device),
            faces=tuple(FaceState(**_with_parameters(face)) for face in faces),
            peers=tuple(PeerState(**peer) for peer in peers),
        ), abs(int(number))
    except (ValueError, ParameterError) as error:
        raise RemoteProtocolError(f"UAPI: a value of the reply does not fit: {error}") from error


def _state_lines(state: DeviceState) -> Iterator[str]:
    if any(state.private_key):
        yield f"private_key={state.private_key.hex()}"
    if state.listen_port:
        yield f"listen_port={state.listen_port}"
    if state.fwmark:
        yield f"fwmark={state.fwmark}"
    yield from _parameter_lines(state.parameters)
    for face in state.faces:
        yield f"face={face.number}"
        yield f"face_listen_port={face.listen_port}"
        yield from ("face_" + line for line in _parameter_lines(face.parameters))
    for peer in state.peers:
        yield from _peer_state_lines(peer)


def _parameter_lines(parameters: ObfuscationParameters) -> Iterator[str]:
    for field in parameters.needs:
        yield f"{field}={write_parameter(field, getattr(parameters, field))}"


def _peer_state_lines(peer: PeerState) -> Iterator[str]:
    yield f"public_key={peer.public_key.hex()}"
    yield f"preshared_key={peer.preshared_key.hex()}"
    yield "protocol_version=1"
    if peer.endpoint is not None:
        yield f"endpoint={write_endpoint(peer.endpoint)}"
    seconds, nanoseconds = divmod(peer.last_handshake_ns, _BILLION)
    yield f"last_handshake_time_sec={seconds}"
    yield f"last_handshake_time_nsec={nanoseconds}"
    yield f"tx_bytes={peer.sent_bytes}"
    yield f"rx_bytes={peer.received_bytes}"
    if peer.persistent_keepalive is not None:
        yield f"persistent_keepalive_interval={peer.persistent_keepalive}"
    if peer.send_rate:
        yield f"send_rate={peer.send_rate}"
    if peer.receive_rate:
        yield f"receive_rate={peer.receive_rate}"
    for network in peer.allowed_ips:
        yield f"allowed_ip={network}"


def _change_lines(change: DeviceChange, generation: Generation, *, ours: bool) -> Iterator[str]:
    if change.private_key is not None:
        yield f"private_key={change.private_key.hex()}"
    if change.listen_port is not None:
        yield f"listen_port={change.listen_port}"
    if change.fwmark is not None:
        yield f"fwmark={change.fwmark}"
    if change.replace_peers:
        yield "replace_peers=true"
    yield from _changed_lines(change.parameters, generation)
    for face in change.faces:
        _check_ours("face", str(face.number), ours=ours)
        yield from _face_lines(face, generation)
    for peer in change.peers:
        yield from _peer_lines(peer, generation, ours=ours)


def _changed_lines(changes: Mapping[str, Any], generation: Generation) -> Iterator[str]:
    needs = UncheckedParameters(**changes).needs
    for field, value in changes.items():
        if field in needs:
            _check_generation(field, value, needs[field], generation)
        elif GENERATION_OF[field] > generation:
            continue  # Its default, to an engine that knows nothing else.
        yield f"{field}={write_parameter(field, value)}"


def _face_lines(face: FaceChange, generation: Generation) -> Iterator[str]:
    yield f"face={face.number}"
    if face.remove:
        yield "face_remove=true"
    if face.listen_port is not None:
        yield f"face_listen_port={face.listen_port}"
    yield from ("face_" + line for line in _changed_lines(face.parameters, generation))


def _peer_lines(peer: PeerChange, generation: Generation, *, ours: bool) -> Iterator[str]:
    yield f"public_key={peer.public_key.hex()}"
    if peer.remove:
        yield "remove=true"
    if peer.update_only:
        yield "update_only=true"
    if peer.preshared_key is not None:
        yield f"preshared_key={peer.preshared_key.hex()}"
    if peer.endpoint is not None:
        yield f"endpoint={write_endpoint(peer.endpoint)}"
    keepalive = peer.persistent_keepalive
    if keepalive is not None:
        if keepalive.span > 1:
            _check_generation("persistent_keepalive_interval", keepalive, Generation.V3_0, generation)
        yield f"persistent_keepalive_interval={keepalive}"
    for key, rate in (("send_rate", peer.send_rate), ("receive_rate", peer.receive_rate)):
        if rate is not None:
            _check_ours(key, str(rate), ours=ours)
            yield f"{key}={rate}"
    if peer.replace_allowed_ips:
        yield "replace_allowed_ips=true"
    yield from (f"allowed_ip={network}" for network in peer.allowed_ips)
    yield from (f"allowed_ip=-{network}" for network in peer.removed_ips)


def _check_generation(key: str, value: object, needed: Generation, generation: Generation) -> None:
    if needed > generation:
        shown = "(hidden)" if isinstance(value, bytes) else str(value)
        raise ParameterError(f"{key} = {shown}: needs AmneziaWG {needed}, and the engine speaks {generation}")


def _check_ours(key: str, value: str, *, ours: bool) -> None:
    if not ours:
        raise ParameterError(f"{key} = {value}: is known to Pharos's own engine only")


def _read_device(values: dict[str, Any], key: str, text: str) -> None:
    if key in PARAMETER_NAMES:
        values["parameters"][key] = read_parameter(key, text)
    elif key in _DEVICE:
        values[key] = _DEVICE[key](text)


def _read_peer(values: dict[str, Any], key: str, text: str) -> None:
    if key == "allowed_ip":
        values["allowed_ips"] = (*values.get("allowed_ips", ()), read_network(text))
    elif key in _PEER:
        field, read = _PEER[key]
        values[field] = values.get(field, 0) + read(text) if field == "last_handshake_ns" else read(text)


def _with_parameters(values: dict[str, Any]) -> dict[str, Any]:
    return values | {"parameters": ObfuscationParameters(**values["parameters"])}


_DEVICE: Final[dict[str, Callable[[str], Any]]] = {"private_key": read_hex_key, "listen_port": int, "fwmark": int}
_PEER: Final[dict[str, tuple[str, Callable[[str], Any]]]] = {
    "preshared_key": ("preshared_key", read_hex_key),
    "endpoint": ("endpoint", read_endpoint),
    "last_handshake_time_sec": ("last_handshake_ns", lambda text: int(text) * _BILLION),
    "last_handshake_time_nsec": ("last_handshake_ns", int),
    "tx_bytes": ("sent_bytes", int),
    "rx_bytes": ("received_bytes", int),
    "persistent_keepalive_interval": ("persistent_keepalive", read_keepalive),
    "send_rate": ("send_rate", int),
    "receive_rate": ("receive_rate", int),
}
