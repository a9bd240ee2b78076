"""The text of resolv.conf(5): whom it names, and what is written in its place. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from typing import Final

import attrs

from pharos.caravel.system.plan import IpAddress

MAX_SERVERS: Final = 3
"""That a resolver of the C library asks (resolv.h, MAXNS)."""
STUBS: Final = frozenset({"127.0.0.53", "127.0.0.54"})
"""Of systemd-resolved."""
HEAD: Final = "# Written by caravel while its tunnel is up; what was here comes back when it ends.\n"
DEFAULT_PORT: Final = 53
MAX_LINE: Final = 1024
"""Longer ones are none of ours; glibc reads no more of one, either."""


@attrs.frozen
class Server:
    """A resolver."""

    host: str
    """Its address; of a link alone with the interface behind %."""
    port: int = DEFAULT_PORT

    @property
    def address(self) -> IpAddress:
        return ipaddress.ip_address(self.host.partition("%")[0])


def read_servers(text: str) -> tuple[Server, ...]:
    """Return whom a file names, in its order; lines that nobody understands count for nothing."""
    found: list[Server] = []
    for words in _lines(text):
        if words[0] == "nameserver" and len(words) > 1:
            host = words[1]
            try:
                ipaddress.ip_address(host.partition("%")[0])
            except ValueError:
                continue
            found.append(Server(host))
    return tuple(dict.fromkeys(found))


def render(servers: Sequence[IpAddress | Server], before: str, *, search: bool) -> str:
    """Return a file that names these servers, with the options of the one before.

    ``search``: and its domains, which whoever runs a network can hand out, and which are then asked for.
    """
    lines = [f"nameserver {one.host if isinstance(one, Server) else one}" for one in servers[:MAX_SERVERS]]
    for words in _lines(before):
        if words[0] == "options":
            # Nobody vouches for what the resolvers say of DNSSEC but they themselves.
            kept = [word for word in words if word != "trust-ad"]
            lines += [" ".join(kept)] if len(kept) > 1 else []
        elif search and words[0] in ("search", "domain") and len(words) > 1:
            lines.append(" ".join(words))
    return HEAD + "".join(f"{line}\n" for line in lines)


def is_stub(text: str) -> bool:
    """Whether a file has all questions go to systemd-resolved."""
    servers = read_servers(text)
    return bool(servers) and all(one.host in STUBS for one in servers)


def askable(servers: Iterable[Server], *, own: Iterable[IpAddress]) -> tuple[Server, ...]:
    """Return those that may be asked past the tunnel: no program of this machine, which would ask us, nor ourselves."""
    mine = set(own)
    return tuple(one for one in servers if not one.address.is_loopback and one.address not in mine)


def _lines(text: str) -> Iterable[list[str]]:
    for line in text.splitlines():
        words = line.split()
        if words and len(line) <= MAX_LINE and not words[0].startswith(("#", ";")):
            yield words
