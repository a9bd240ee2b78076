"""The way out of an engine that has no TUN interface: devices' packets become sockets of this process, without root.

What they may reach is what users of REALITY may, for both are dialled by this process: the Internet, and of private
networks and of this machine what the operator has named. This machine is reached at the node's own addresses inside
the tunnel, which stand for its loopback.
"""

from __future__ import annotations

import errno
import ipaddress
import os
from collections.abc import Collection
from ipaddress import IPv4Network, IPv6Network
from typing import Final, TypeAlias
from weakref import WeakKeyDictionary

import attrs
import trio

from pharos.buoy.dataplane.turning import TurningEnd
from pharos.wire.addresses import Address, Datagram
from pharos.wire.awg.device import DEFAULT_MTU
from pharos.wire.awg.memory import memory_link
from pharos.wire.awg.netstack.forward import Forwarder
from pharos.wire.awg.netstack.hostsockets import open_os_tcp, open_os_udp
from pharos.wire.desired import Policy
from pharos.wire.openers import DatagramRefusedError, DatagramTunnel
from pharos.wire.reality.routing import IpAddress, Routes

IpNetwork: TypeAlias = IPv4Network | IPv6Network

DNS, ENCRYPTED_DNS = 53, 853
MAX_PLACES: Final = 256
"""Remembered of one socket; one more forgets all of them."""
QUEUE_PACKETS: Final = 1024
"""Each way between the engine and the exit: 1.4 MB, 20 ms at 500 Mbit/s, which is more than the engine carries."""
_LOOPBACK: Final = {4: ipaddress.ip_address("127.0.0.1"), 6: ipaddress.ip_address("::1")}


@attrs.frozen(kw_only=True)
class ExitRules:
    """Where devices get to; by address, never by name."""

    routes: Routes = attrs.field(factory=lambda: Routes(internet=False))
    own: frozenset[IpAddress] = frozenset()
    """The node's addresses inside the tunnel."""
    resolvers: tuple[IpAddress, ...] = ()
    """Whom devices ask for names; if there are any, whatever they ask of others is asked of these."""
    machine_resolvers: tuple[IpAddress, ...] = ()
    """Whom this machine asks, which answer in the node's own name where none are named."""
    devices: tuple[IpNetwork, ...] = ()
    """Networks of devices that reach each other."""

    @classmethod
    def of(
        cls,
        policy: Policy,
        *,
        own: Collection[str],
        allowed: Collection[IpNetwork],
        devices: Collection[str] = (),
        machine_resolvers: Collection[str] = (),
    ) -> ExitRules:
        """Return the rules of a policy; ``allowed`` are reached beside the Internet, ``devices`` are who asks."""
        return cls(
            routes=Routes(
                allowed=tuple(allowed),
                closed=tuple(ipaddress.ip_network(network) for network in policy.closed),
                internet=policy.internet,
            ),
            own=frozenset(map(ipaddress.ip_address, own)),
            resolvers=tuple(map(ipaddress.ip_address, policy.resolvers)),
            machine_resolvers=tuple(map(ipaddress.ip_address, machine_resolvers)),
            devices=tuple(map(ipaddress.ip_network, devices)) if policy.peer_to_peer else (),
        )

    def is_device(self, packed: bytes) -> bool:
        """Whether what goes to an address goes to another device."""
        address = ipaddress.ip_address(packed)
        return address not in self.own and _among(address, self.devices) and not _among(address, self.routes.closed)

    def target(self, address: IpAddress, port: int) -> IpAddress | None:
        """Return what is dialled for an address; None if it is not reached."""
        if self.resolvers and port == DNS and address not in self.resolvers:
            return next((self._meant(one) for one in self.resolvers if one.version == address.version), None)
        if address in self.resolvers and port in (DNS, ENCRYPTED_DNS):
            return self._meant(address)
        if self.resolvers and port == ENCRYPTED_DNS:
            return None
        if port == DNS and address in self.own and not self.resolvers and self.machine_resolvers:
            # One of the same version if there is one: a socket of the other may not reach it.
            return min(self.machine_resolvers, key=lambda one: one.version != address.version)
        meant = self._meant(address)
        return meant if self.routes.permit(meant) else None

    def _meant(self, address: IpAddress) -> IpAddress:
        return _LOOPBACK[address.version] if address in self.own else address


class RootlessExit:
    """An engine's inner end is `far`; `run` is the task that carries its packets on."""

    def __init__(self) -> None:
        near, far = memory_link(QUEUE_PACKETS)
        self.far = TurningEnd(near, far)
        self._rules = ExitRules()
        self._streams: WeakKeyDictionary[trio.SocketStream, tuple[IpAddress, int]] = WeakKeyDictionary()
        """Those that are open, with what was asked for."""
        self._forwarder = Forwarder(
            near, open_tcp=self._open_tcp, open_udp=self._open_udp, mtu=DEFAULT_MTU, allowed=self._allowed
        )

    @property
    def rules(self) -> ExitRules:
        return self._rules

    def set_rules(self, rules: ExitRules) -> None:
        """Judge by these from now on, also what is open: a connection that would not be made any more is reset."""
        if rules == self._rules:
            return
        self._rules = rules
        self._forwarder.set_addresses(rules.own)
        self.far.set_devices(rules.is_device if rules.devices else None)
        for stream, (asked, port) in list(self._streams.items()):
            if rules.target(asked, port) is None:
                stream.socket.close()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Carry packets on until cancelled."""
        await self._forwarder.run(task_status=task_status)

    def _allowed(self, address: IpAddress, port: int) -> bool:
        return self._rules.target(address, port) is not None

    async def _open_tcp(self, host: str, port: int) -> trio.SocketStream:
        asked = ipaddress.ip_address(host)
        target = self._rules.target(asked, port)
        if target is None:
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        stream = await open_os_tcp(str(target), port)
        self._streams[stream] = asked, port
        return stream

    async def _open_udp(self) -> DatagramTunnel:
        return ExitDatagrams(await open_os_udp(refusals=True), self)


class ExitDatagrams(DatagramTunnel):
    """A socket whose partners go by the addresses that a device knows them by."""

    def __init__(self, outside: DatagramTunnel, exit_: RootlessExit) -> None:
        self._outside = outside
        self._exit = exit_
        self._rules: ExitRules | None = None
        self._targets: dict[Address, Address | None] = {}
        self._asked: dict[Address, Address] = {}
        """What stands in `_targets`, the other way round."""

    async def send_datagram(self, datagram: Datagram) -> None:
        """Raises: DatagramRefusedError — nobody is there; trio.ClosedResourceError."""
        target = self._target(datagram.address)
        if target is None:
            await trio.lowlevel.checkpoint()
            return
        try:
            await self._outside.send_datagram(Datagram(target, datagram.data))
        except DatagramRefusedError as error:
            raise self._translated(error) from error

    async def receive_datagram(self) -> Datagram:
        """Raises: DatagramRefusedError, OSError, trio.ClosedResourceError."""
        while True:
            try:
                datagram = await self._outside.receive_datagram()
            except DatagramRefusedError as error:
                raise self._translated(error) from error
            if (source := self._source(datagram.address)) is not None:
                return Datagram(source, datagram.data)

    async def aclose(self) -> None:
        await self._outside.aclose()

    def _target(self, asked: Address) -> Address | None:
        self._follow_rules()
        if asked not in self._targets:
            if len(self._targets) >= MAX_PLACES:
                self._targets.clear()
                self._asked.clear()
            self._judge(asked)
        return self._targets[asked]

    def _source(self, address: Address) -> Address | None:
        """Return as whom a device knows an address; None where it may not, by now, or has nothing from there.

        Whoever was written to may answer from another port.
        """
        self._follow_rules()
        if address in self._asked:
            return self._asked[address]
        asked = next((self._asked[target] for target in self._asked if target.host == address.host), None)
        return None if asked is None else Address(asked.host, address.port)

    def _follow_rules(self) -> None:
        if self._exit.rules is self._rules:
            return
        self._rules = self._exit.rules
        places = list(self._targets)
        self._asked.clear()
        for asked in places:
            self._judge(asked)

    def _judge(self, asked: Address) -> None:
        found = self._exit.rules.target(ipaddress.ip_address(asked.host), asked.port)
        target = self._targets[asked] = None if found is None else Address(str(found), asked.port)
        if target is not None:
            self._asked[target] = asked

    def _translated(self, error: DatagramRefusedError) -> DatagramRefusedError:
        return DatagramRefusedError(
            error.errno or 0, error.strerror or "", self._asked.get(error.address, error.address)
        )


def _among(address: IpAddress, networks: Collection[IpNetwork]) -> bool:
    return any(address.version == network.version and address in network for network in networks)
