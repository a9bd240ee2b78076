"""Knock at every port, and count exactly who heard it: packets are counted by nft where they arrive."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Collection, Iterable

import attrs

from tests.system.lab.commands import run_nft
from tests.system.lab.network import Lab
from tests.system.lab.topology import HELM, LAN4, LAN6, NAT, Host

EVERY_PORT = range(1, 65536)
SOURCE_PORT = 40000
PASSES = 8
"""A busy kernel may drop packets between two namespaces: a pass that did not arrive whole is knocked again."""

_SYN = struct.Struct("!HHIIBBHHH")


@attrs.frozen(kw_only=True)
class Door:
    """Where to knock: all ports of one protocol at one address."""

    address: str
    kind: socket.SocketKind

    @property
    def name(self) -> str:
        """Of its counter."""
        kind = "tcp" if self.kind is socket.SOCK_STREAM else "udp"
        return f"{kind}_{self.address.replace('.', '_').replace(':', '_')}"

    @property
    def family(self) -> int:
        return 6 if ":" in self.address else 4


DOORS = tuple(
    Door(address=host.address(family), kind=kind)
    for host in (HELM, NAT)
    for family in (4, 6)
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM)
)
"""helm's own addresses, which the world can route to the NAT, and the NAT's."""


class Watch:
    """Counts a stranger's knocks: at the NAT's outside, at helm, and what comes back to the stranger."""

    def __init__(self, lab: Lab, stranger: Host) -> None:
        self._lab = lab
        self._stranger = stranger

    async def install(self) -> None:
        """Begin to count."""
        sources = {4: f"ip saddr {self._stranger.address4} ip", 6: f"ip6 saddr {self._stranger.address6} ip6"}
        kinds = {
            socket.SOCK_STREAM: "tcp flags & (syn | ack) == syn tcp",
            socket.SOCK_DGRAM: "udp",
        }
        rules = [
            f'iifname "eth0" {sources[door.family]} daddr {door.address} {kinds[door.kind]} sport {SOURCE_PORT} '
            f'counter name "{door.name}"'
            for door in DOORS
        ]
        await self._count("nat", "prerouting", [door.name for door in DOORS], rules)
        # Everything at all that helm did not ask for, but for its own gateway looking for it.
        uninvited = 'ct state { new, untracked } counter name "uninvited"'
        rules = [
            f'iifname "eth0" ip saddr != {LAN4} {uninvited}',
            f'iifname "eth0" ip6 saddr != {{ {LAN6}, fe80::/10 }} {uninvited}',
        ]
        await self._count(HELM.name, "input", ["uninvited"], rules)
        heard = 'counter name "answers"'
        rules = [
            f"tcp dport {SOURCE_PORT} {heard}",
            f"udp dport {SOURCE_PORT} {heard}",
            f"icmp type {{ destination-unreachable, time-exceeded }} {heard}",
            f"icmpv6 type {{ destination-unreachable, time-exceeded }} {heard}",
        ]
        await self._count(self._stranger.name, "input", ["answers"], rules)

    async def arrived(self) -> dict[str, int]:
        """Return how many knocks have reached the NAT, by door."""
        return await self._read("nat")

    async def uninvited(self) -> int:
        """Return how many packets have reached helm that it had not asked for."""
        return (await self._read(HELM.name))["uninvited"]

    async def answers(self) -> int:
        """Return how many answers the stranger has had."""
        return (await self._read(self._stranger.name))["answers"]

    async def knock(self, door: Door, ports: Collection[int] = EVERY_PORT) -> None:
        """Knock at each of these ports; return when each knock of one pass has arrived at the NAT.

        Raises: AssertionError — it cannot be done here.
        """
        space = self._lab.namespace(self._stranger.name)
        for _ in range(PASSES):
            before = (await self.arrived())[door.name]
            await space.call(_send, door, self._stranger.address(door.family), ports)
            if (await self.arrived())[door.name] == before + len(ports):
                return
        raise AssertionError(f"{len(ports)} packets to {door.address} do not arrive whole")

    async def _count(self, host: str, hook: str, names: Iterable[str], rules: Iterable[str]) -> None:
        counters = "\n".join(f"  counter {name} {{ }}" for name in names)
        lines = "\n".join(f"    {rule}" for rule in rules)
        priority = "raw" if hook == "prerouting" else "filter"
        chain = f"  chain seen {{\n    type filter hook {hook} priority {priority};\n{lines}\n  }}"
        await run_nft(self._lab.namespace(host).name, f"table inet watch {{\n{counters}\n{chain}\n}}\n")

    async def _read(self, host: str) -> dict[str, int]:
        said = json.loads(await self._lab.run(host, "nft", "-j", "list", "counters", "table", "inet", "watch"))
        entries = [entry["counter"] for entry in said["nftables"] if "counter" in entry]
        return {entry["name"]: entry["packets"] for entry in entries}


def _send(door: Door, source: str, ports: Iterable[int]) -> None:
    family = socket.AF_INET6 if door.family == 6 else socket.AF_INET
    if door.kind is socket.SOCK_DGRAM:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.bind((source, SOURCE_PORT))
            for port in ports:
                sock.sendto(b"knock", (door.address, port))
        return
    with socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_TCP) as sock:
        sock.bind((source, 0))
        if door.family == 6:
            # The kernel fills in the sum, at this offset (RFC 3542 §3.1).
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_CHECKSUM, 16)
        pseudo = _words(socket.inet_pton(family, source)) + _words(socket.inet_pton(family, door.address))
        for port in ports:
            header = _SYN.pack(SOURCE_PORT, port, 1, 0, 5 << 4, 0x02, 64240, 0, 0)
            if door.family == 4:
                total = pseudo + socket.IPPROTO_TCP + _SYN.size + _words(header)
                total = (total & 0xFFFF) + (total >> 16)
                total = (total & 0xFFFF) + (total >> 16)
                header = _SYN.pack(SOURCE_PORT, port, 1, 0, 5 << 4, 0x02, 64240, ~total & 0xFFFF, 0)
            sock.sendto(header, (door.address, 0))


def _words(data: bytes) -> int:
    return sum(struct.unpack(f"!{len(data) // 2}H", data))
