"""What the agent may ask of root, whole: a closed list of typed acts, and what each is answered with.

Nothing here is a free text, a path or a command of the asker's: units, interfaces and verbs are members of enums, the
rest are numbers, keys and IP addresses. What cannot be said cannot be done, whoever has taken the agent over.
"""

from __future__ import annotations

import enum
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import Final, TypeAlias

import attrs

from pharos.buoy.roothelper.checks import (
    KEY_SIZE,
    IPAddress,
    IPInterface,
    IPNetwork,
    check_scopes,
    check_space,
    device_networks,
    is_a,
    key,
    lines,
    many,
    number,
)
from pharos.wire.awg.params import PLAIN, ObfuscationParameters
from pharos.wire.netpolicy import NetworkPlan

NO_PRESHARED_KEY: Final = bytes(KEY_SIZE)
MAX_PORT: Final = 2**16 - 1
# Sockets of one device that is cut: browsers open some six to a site, and a busy device has some dozens at once.
MAX_SOCKETS: Final = 256
# A node's own addresses: one of each family for each pool of devices.
MAX_ADDRESSES: Final = 64
# 10,000 devices have two networks each where none lies beside another, and some a subnet of their own.
MAX_NETWORKS: Final = 32_768
# Sentences on what will not work; one for each firewall that is in the way, and a machine has few.
MAX_FINDINGS: Final = 16
MAX_FINDING: Final = 300
# Twice the largest node that is measured (10,000).
MAX_PEERS: Final = 20_000
MAX_PEER_NETWORKS: Final = 16
# What IPv4 can still work with (RFC 791) is 68; AmneziaWG's own header and padding would fill that.
MIN_MTU, MAX_MTU = 576, 65_535
_LARGEST: Final = 2**64 - 1


class Interface(enum.Enum):
    """The tunnels' interfaces; no other of the machine can be named."""

    AWG0 = "awg0"
    AWG1 = "awg1"
    AWG2 = "awg2"
    AWG3 = "awg3"
    AWG4 = "awg4"
    AWG5 = "awg5"
    AWG6 = "awg6"
    AWG7 = "awg7"
    AWG8 = "awg8"
    AWG9 = "awg9"


class Unit(enum.Enum):
    """The engines' units; the agent's own is not among them."""

    AWG0 = "pharos-awg@awg0.service"
    AWG1 = "pharos-awg@awg1.service"
    AWG2 = "pharos-awg@awg2.service"
    AWG3 = "pharos-awg@awg3.service"
    AWG4 = "pharos-awg@awg4.service"
    AWG5 = "pharos-awg@awg5.service"
    AWG6 = "pharos-awg@awg6.service"
    AWG7 = "pharos-awg@awg7.service"
    AWG8 = "pharos-awg@awg8.service"
    AWG9 = "pharos-awg@awg9.service"
    REALITY = "pharos-reality.service"
    XRAY = "pharos-xray.service"

    @classmethod
    def awg(cls, interface: Interface) -> Unit:
        """The engine in user space of an interface."""
        return cls(f"pharos-awg@{interface.value}.service")


class UnitVerb(enum.Enum):
    """What may be done with a unit."""

    START = "start"
    STOP = "stop"
    RESTART = "restart"


class LinkKind(enum.Enum):
    """What the kernel can make a tunnel of, as ip-link(8) spells it."""

    AMNEZIAWG = "amneziawg"
    WIREGUARD = "wireguard"


@attrs.frozen
class UnitAct:
    """Start, stop or restart an engine; done when systemd says that it is."""

    unit: Unit = attrs.field(validator=is_a(Unit))
    verb: UnitVerb = attrs.field(validator=is_a(UnitVerb))


@attrs.frozen
class SocketAddress:
    """One end of a TCP connection."""

    address: IPAddress
    port: int = attrs.field(validator=number(1, MAX_PORT))

    def __attrs_post_init__(self) -> None:
        if type(self.address) not in (IPv4Address, IPv6Address):
            raise ValueError("address must be an IPv4Address or an IPv6Address")
        check_scopes((self.address,))


@attrs.frozen
class SocketPair:
    """A TCP connection of this machine."""

    local: SocketAddress = attrs.field(validator=is_a(SocketAddress))
    remote: SocketAddress = attrs.field(validator=is_a(SocketAddress))

    def __attrs_post_init__(self) -> None:
        if self.local.address.version != self.remote.address.version:
            raise ValueError("both ends must be of one family")


@attrs.frozen
class KillSockets:
    """End TCP connections at once, both ends hearing of it; only those that a REALITY server of ours has accepted."""

    sockets: tuple[SocketPair, ...] = attrs.field(validator=many(MAX_SOCKETS, SocketPair))


@attrs.frozen(kw_only=True)
class SetLink:
    """Make a tunnel's interface be up with exactly these addresses and routes."""

    interface: Interface = attrs.field(validator=is_a(Interface))
    addresses: tuple[IPInterface, ...] = attrs.field(
        default=(), validator=many(MAX_ADDRESSES, IPv4Interface, IPv6Interface)
    )
    """The node's own inside the tunnel."""
    networks: tuple[IPNetwork, ...] = attrs.field(default=(), validator=device_networks(MAX_NETWORKS))
    """Of all devices: what is routed into the tunnel."""
    mtu: int = attrs.field(validator=number(MIN_MTU, MAX_MTU))
    create: LinkKind | None = attrs.field(default=None, validator=attrs.validators.optional(is_a(LinkKind)))
    """Have the kernel make the interface if it is not there; None: an engine has made it."""

    def __attrs_post_init__(self) -> None:
        check_space(one.network for one in self.addresses)


@attrs.frozen
class RemoveLink:
    """Remove a tunnel's interface, if it is there: a kernel's engine ends with it, and so do its sessions."""

    interface: Interface = attrs.field(validator=is_a(Interface))


@attrs.frozen(kw_only=True)
class SyncPeer:
    """One device as the kernel has to know it."""

    public_key: bytes = attrs.field(validator=key, repr=bytes.hex)
    preshared_key: bytes = attrs.field(default=NO_PRESHARED_KEY, validator=key, repr=False)
    """All zero means none."""
    networks: tuple[IPNetwork, ...] = attrs.field(
        default=(), validator=many(MAX_PEER_NETWORKS, IPv4Network, IPv6Network)
    )
    """Its allowed IPs."""


@attrs.frozen(kw_only=True)
class SyncAwg:
    """Make the kernel's AmneziaWG be this; peers that stay keep their sessions (wg(8), syncconf)."""

    interface: Interface = attrs.field(validator=is_a(Interface))
    private_key: bytes = attrs.field(validator=key, repr=False)
    port: int = attrs.field(validator=number(1, MAX_PORT))
    """UDP."""
    parameters: ObfuscationParameters = attrs.field(default=PLAIN, validator=is_a(ObfuscationParameters))
    peers: tuple[SyncPeer, ...] = attrs.field(default=(), validator=many(MAX_PEERS, SyncPeer))


@attrs.frozen
class DumpAwg:
    """Say what the kernel's AmneziaWG knows of its peers."""

    interface: Interface = attrs.field(validator=is_a(Interface))


@attrs.frozen
class ApplyNetwork:
    """Put a network policy in force, and keep it so against whoever changes it until it is removed."""

    plan: NetworkPlan = attrs.field(validator=is_a(NetworkPlan))


@attrs.frozen
class RemoveNetwork:
    """Take the network policy away; the machine is as it was before the first."""


@attrs.frozen
class Done:
    """It is as was asked."""


@attrs.frozen
class Killed:
    """How many of the connections were there to be ended."""

    count: int = attrs.field(validator=number(0, MAX_SOCKETS))


@attrs.frozen(kw_only=True)
class PeerDump:
    """What the kernel knows of one peer; no secret is among it."""

    public_key: bytes = attrs.field(validator=key, repr=bytes.hex)
    endpoint: SocketAddress | None = None
    """Where it was heard last; None: not yet."""
    last_handshake: int = attrs.field(validator=number(0, _LARGEST))
    """Seconds since 1970, 0 for never."""
    received: int = attrs.field(validator=number(0, _LARGEST))
    """Bytes."""
    sent: int = attrs.field(validator=number(0, _LARGEST))
    """Bytes."""


@attrs.frozen(kw_only=True)
class AwgDump:
    """What the kernel's AmneziaWG is at present."""

    port: int = attrs.field(validator=number(0, MAX_PORT))
    """UDP; 0 while none is served."""
    peers: tuple[PeerDump, ...] = attrs.field(default=(), validator=many(MAX_PEERS, PeerDump))


@attrs.frozen
class Applied:
    """The network policy is in force."""

    findings: tuple[str, ...] = attrs.field(default=(), validator=lines(MAX_FINDINGS, MAX_FINDING))
    """Sentences for an operator on what will not work nevertheless."""


Act: TypeAlias = ApplyNetwork | RemoveNetwork | UnitAct | KillSockets | SetLink | RemoveLink | SyncAwg | DumpAwg
Answer: TypeAlias = Done | Applied | Killed | AwgDump

ANSWERS: Final[dict[type, type]] = {
    ApplyNetwork: Applied,
    RemoveNetwork: Done,
    UnitAct: Done,
    KillSockets: Killed,
    SetLink: Done,
    RemoveLink: Done,
    SyncAwg: Done,
    DumpAwg: AwgDump,
}
"""Every act, and what it is answered with when it was done."""
