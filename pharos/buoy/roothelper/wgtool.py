"""What `wg` and `awg` read and write, as typed values: a configuration in, a dump out (wg(8))."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Final

import attrs

from pharos.buoy.roothelper.acts import MAX_PORT, NO_PRESHARED_KEY, AwgDump, PeerDump, SocketAddress, SyncAwg
from pharos.wire.awg.confkeys import PARAMETER_KEYS
from pharos.wire.awg.params import GENERATION_OF, PLAIN, Generation, ObfuscationParameters
from pharos.wire.awg.texts import read_base64_key, read_endpoint, read_number, write_base64_key

WG, AWG = "wg", "awg"
TOOL_OF: Final = {"wireguard": WG, "amneziawg": AWG}
"""Who speaks to the kernel's own interfaces; one that a program made answers both."""
_LARGEST: Final = 2**64 - 1
# Key, preshared key, endpoint, allowed IPs, last handshake, received, sent; what newer tools append is not read.
_PEER_COLUMNS: Final = 7
_PORT_COLUMN: Final = 2


def render_sync(act: SyncAwg, tool: str) -> bytes:
    """Return the configuration for `syncconf`, secrets included.

    Raises: ValueError — `wg` knows no obfuscation.
    """
    lines = ["[Interface]", f"PrivateKey = {write_base64_key(act.private_key)}", f"ListenPort = {act.port}"]
    if tool == AWG:
        lines += _parameter_lines(act.parameters)
    elif act.parameters != PLAIN:
        raise ValueError("obfuscation takes the tool awg and the kernel module amneziawg")
    for peer in act.peers:
        lines += ["", "[Peer]", f"PublicKey = {write_base64_key(peer.public_key)}"]
        if peer.preshared_key != NO_PRESHARED_KEY:
            lines.append(f"PresharedKey = {write_base64_key(peer.preshared_key)}")
        if peer.networks:
            lines.append(f"AllowedIPs = {', '.join(map(str, peer.networks))}")
    return ("\n".join(lines) + "\n").encode()


def _parameter_lines(parameters: ObfuscationParameters) -> list[str]:
    """Those of the first generation in any case, for what is not named stays as it was before."""
    defaults = attrs.fields_dict(ObfuscationParameters)
    lines = []
    for key in PARAMETER_KEYS:
        value = getattr(parameters, key.field)
        if value != defaults[key.field].default or GENERATION_OF[key.field] is Generation.V1_0:
            lines.append(f"{key.name} = {key.write(value)}")
    return lines


def parse_dump(text: str) -> AwgDump:
    """Return what `show … dump` says, without its secrets.

    Raises: ValueError — it is no dump; the message shows nothing of it, for it holds keys.
    """
    interface, *peers = [line.split("\t") for line in text.splitlines()] or [[]]
    if len(interface) <= _PORT_COLUMN:
        raise ValueError("the interface's line is too short")
    port = read_number(interface[_PORT_COLUMN], 0, MAX_PORT)
    return AwgDump(port=port, peers=tuple(map(_peer, peers)))


def _peer(columns: list[str]) -> PeerDump:
    if len(columns) < _PEER_COLUMNS:
        raise ValueError("a peer's line is too short")
    public_key, _, endpoint, _, handshake, received, sent = columns[:_PEER_COLUMNS]
    return PeerDump(
        public_key=read_base64_key(public_key),
        endpoint=None if endpoint == "(none)" else _endpoint(endpoint),
        last_handshake=_count(handshake),
        received=_count(received),
        sent=_count(sent),
    )


def _endpoint(text: str) -> SocketAddress:
    host, port = read_endpoint(text)
    # A link-local sender has a scope, which only this machine's own network understands.
    return SocketAddress(ip_address(host.partition("%")[0]), port)


def _count(text: str) -> int:
    # `read_number` reads what a configuration may hold, at most ten digits.
    if not text.isascii() or not text.isdigit() or len(text) > len(str(_LARGEST)) or int(text) > _LARGEST:
        raise ValueError("a counter is a whole number of 64 bits")
    return int(text)
