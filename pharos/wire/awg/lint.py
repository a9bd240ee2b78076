"""The linter of tunnel files: every error at once, and warnings of what works and is unwise."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network
from typing import Final

import attrs

from pharos.wire.awg.conf import InterfaceSection, PeerSection, TunnelConf
from pharos.wire.awg.confread import read
from pharos.wire.awg.findings import Finding, Severity
from pharos.wire.awg.lintparams import lint_parameters, warning
from pharos.wire.awg.params import Generation
from pharos.wire.awg.rules import I_PACKETS

ETHERNET_MTU: Final = 1500
# Outer IP and UDP headers, and a transport message round its packet: 20 + 8 + 32, and 40 + 8 + 32.
OVERHEAD_V4: Final = 60
OVERHEAD_V6: Final = 80
# wg-quick's own choice when the file says none.
DEFAULT_MTU: Final = ETHERNET_MTU - OVERHEAD_V6


def lint(text: str, *, generation: Generation | None = None, path_mtu: int = ETHERNET_MTU) -> tuple[Finding, ...]:
    """Look at a file in the light of its peers' ``generation``, if it is known, and the path's MTU in bytes.

    Findings come in the order of the file; a file with errors is not looked at for warnings.
    """
    reading = read(text, hooks=True)
    if reading.conf is None:
        return reading.findings
    lines = reading.lines
    found = lint_conf(reading.conf, generation=generation, path_mtu=path_mtu, peer_lines=reading.peer_lines)
    placed = (attrs.evolve(finding, line=finding.line or lines.get(finding.key.lower(), 0)) for finding in found)
    return tuple(sorted(placed, key=lambda finding: finding.line))


def lint_conf(
    conf: TunnelConf,
    *,
    generation: Generation | None = None,
    path_mtu: int = ETHERNET_MTU,
    peer_lines: tuple[int, ...] = (),
) -> Iterator[Finding]:
    """Yield what is unwise in a configuration; ``peer_lines`` says where in its file the peers are."""
    initiates = any(peer.endpoint is not None for peer in conf.peers)
    yield from lint_parameters(conf.interface.parameters, generation, initiates=initiates)
    yield from _interface(conf.interface)
    yield from _sizes(conf, path_mtu)
    yield from _peers(conf.peers, generation, peer_lines or (0,) * len(conf.peers))


def inner_mtu(path_mtu: int, transport_padding: int, *, ipv6: bool) -> int:
    """The largest inner packet whose datagram the path carries whole."""
    return path_mtu - (OVERHEAD_V6 if ipv6 else OVERHEAD_V4) - transport_padding


def _interface(interface: InterfaceSection) -> Iterator[Finding]:
    if not interface.private_key:
        yield warning("PrivateKey", "", "is missing: the tunnel cannot come up from this file alone")
    for hook in interface.hooks:
        yield warning(hook.time.value, "", "is run by root's shell; Pharos refuses files with hooks unless asked")
    if interface.save_config:
        yield warning("SaveConfig", "true", "the file is overwritten when the tunnel goes down")


def _sizes(conf: TunnelConf, path_mtu: int) -> Iterator[Finding]:
    parameters = conf.interface.parameters
    ipv6 = any(peer.endpoint is not None and ":" in peer.endpoint[0] for peer in conf.peers)
    most = inner_mtu(path_mtu, parameters.s4, ipv6=ipv6)
    mtu = conf.interface.mtu or DEFAULT_MTU
    if mtu > most:
        said = conf.interface.mtu is not None
        yield warning(
            "MTU", mtu if said else "", f"at most {most} bytes fit a path of {path_mtu} with S4 = {parameters.s4}"
        )
    headers = OVERHEAD_V6 - 32 if ipv6 else OVERHEAD_V4 - 32
    for key in I_PACKETS:
        packet = getattr(parameters, key)
        if packet is not None and packet.size + headers > path_mtu:
            yield warning(
                key, f"({packet.size} bytes)", f"is sent in fragments on a path of {path_mtu}, which stand out"
            )


def _peers(peers: tuple[PeerSection, ...], generation: Generation | None, lines: tuple[int, ...]) -> Iterator[Finding]:
    owners: dict[IPv4Network | IPv6Network, int] = {}
    for number, (peer, line) in enumerate(zip(peers, lines, strict=True), 1):
        if not peer.allowed_ips:
            rule = "there are none: nothing is routed to this peer, and nothing taken from it"
            yield warning("AllowedIPs", "", rule, line=line)
        for network in peer.allowed_ips:
            if owners.setdefault(network, number) != number:
                rule = f"is taken away from peer {owners[network]}, which has it too"
                yield warning("AllowedIPs", network, rule, line=line)
        if peer.advanced_security is not None:
            yield warning("AdvancedSecurity", "", "means nothing to any engine of today", line=line)
        keepalive = peer.persistent_keepalive
        if keepalive is not None and keepalive.span > 1 and (generation or Generation.V3_1) < Generation.V3_0:
            yield Finding(
                severity=Severity.ERROR,
                key="PersistentKeepalive",
                value=str(keepalive),
                rule=f"needs AmneziaWG {Generation.V3_0}, and the peer speaks {generation}",
                line=line,
            )
