"""This machine's own network: which way packets would go, and who answers its questions for names."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from pharos.wire.findings import Finding, note, ok, problem

# Nobody's (RFC 5737, RFC 3849): a route is asked for, and nothing is sent.
FAR: Final = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}
NAMES: Final = {socket.AF_INET: "IPv4", socket.AF_INET6: "IPv6"}
RESOLV_CONF: Final = Path("/etc/resolv.conf")
STUB: Final = ipaddress.ip_address("127.0.0.53")
"""systemd-resolved's."""
DISCARD: Final = 9


def source_of(family: socket.AddressFamily) -> str | None:
    """Return the address from which this machine would speak to the Internet; None where there is no way."""
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect((FAR[family], DISCARD))
        except OSError:
            return None
        return str(sock.getsockname()[0])


def check_routes(inner: Iterable[str], *, system_wide: bool) -> Iterator[Finding]:
    """Ask which way packets would go. ``inner`` are the device's networks inside the tunnel."""
    own = {ipaddress.ip_interface(network).ip for network in inner}
    for family in (socket.AF_INET, socket.AF_INET6):
        id_, source = f"route:{NAMES[family].lower()}", source_of(family)
        if source is None:
            if family is socket.AF_INET:
                yield note(id_, "there is no way to the IPv4 Internet", "see whether this machine is in a network")
            else:
                yield ok(id_, "there is no way to the IPv6 Internet, so nothing leaks by it")
        elif not system_wide:
            yield ok(id_, f"packets leave from {source}")
        elif ipaddress.ip_address(source) in own:
            yield ok(id_, f"{NAMES[family]} goes through the tunnel")
        else:
            yield problem(
                id_,
                f"{NAMES[family]} leaves from {source}, outside the tunnel",
                "turn the kill switch on: caravel up --kill-switch; and tell us what else changes routes here",
            )


def check_dns(expected: Iterable[str], *, system_wide: bool, path: Path = RESOLV_CONF) -> Finding:
    """See whom this machine asks for names; ``expected`` are those to ask while a tunnel is up."""
    asked = list(name_servers(path))
    wanted = {ipaddress.ip_address(text) for text in expected}
    told = ", ".join(map(str, asked)) or "nobody"
    if not system_wide:
        return ok("dns", f"asks {told}")
    # A stub on this machine passes on what it is asked, and is told separately whom to ask.
    outside = [one for one in asked if one not in wanted and not one.is_loopback]
    if outside and wanted:
        return problem(
            "dns",
            f"this machine asks {', '.join(map(str, outside))} for names, which sees where you go",
            "connect again; if another program writes /etc/resolv.conf, have it stop while the tunnel is up",
        )
    return ok("dns", f"asks {told}")


def name_servers(path: Path = RESOLV_CONF) -> Iterator[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """Give the name servers of a resolv.conf; what is none is passed over."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        words = line.split()
        if len(words) >= 2 and words[0] == "nameserver":
            try:
                yield ipaddress.ip_address(words[1].partition("%")[0])
            except ValueError:
                continue
