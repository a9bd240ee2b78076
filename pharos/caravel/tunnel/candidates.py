"""Where the ways come from that a connection may choose: a fleet's profile, a share link, or a configuration."""

from __future__ import annotations

import datetime
import functools
import ipaddress
from collections.abc import Callable, Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface
from typing import Final, Protocol

import attrs

from pharos.caravel.errors import NodeRefusedError, NoSuchNodeError
from pharos.caravel.profiles.confs import KeptConf
from pharos.caravel.profiles.links import KeptLink
from pharos.caravel.profiles.nodes import choose_node, resolvers_of
from pharos.caravel.profiles.pins import Standing
from pharos.caravel.profiles.store import DeviceSecrets, ProfileStore
from pharos.caravel.profiles.ways import examine
from pharos.caravel.tunnel import amnezia, realityways
from pharos.caravel.tunnel.amnezialeg import open_amnezia_leg
from pharos.caravel.tunnel.amneziaplan import AmneziaPlan, WayIn
from pharos.caravel.tunnel.parts import Candidate, OpenLeg, Protect
from pharos.caravel.tunnel.realityleg import open_reality_leg
from pharos.caravel.tunnel.realityplan import RealityPlan
from pharos.wire.awg.device import DEFAULT_MTU
from pharos.wire.awg.params import PLAIN
from pharos.wire.ids import NodeId
from pharos.wire.profile import AMNEZIAWG, VLESS_REALITY, Profile, ProfileNode
from pharos.wire.reality.draws import Random
from pharos.wire.tcpdial import Resolve, resolve_by_system
from pharos.wire.units import SECONDS
from pharos.wire.world import random_bytes, utc_now

LINK_ADDRESSES: Final = (ipaddress.ip_interface("10.255.255.2/32"), ipaddress.ip_interface("fdff:ffff:ffff::2/128"))
"""Of the inner side of a share link's tunnel, where there are packets at all: its node sees streams alone."""
KEEPALIVE: Final = 25 * SECONDS
"""For a configuration that says none: its node cannot be asked whether it is there."""


@attrs.frozen(kw_only=True)
class InnerSettings:
    """What the inner side has, whichever way is chosen."""

    addresses: tuple[IPv4Interface | IPv6Interface, ...]
    resolvers: tuple[IPv4Address | IPv6Address, ...] = ()
    mtu: int = DEFAULT_MTU


@attrs.frozen(kw_only=True)
class Choices:
    """What there is to choose from now."""

    known: tuple[Candidate, ...]
    """In the order of the profile."""
    newcomers: tuple[Candidate, ...] = ()
    """Ways to nodes that this device does not know yet: they are not chosen by themselves."""
    others: tuple[str, ...] = ()
    """Nodes that are not known, with what they are instead, for people."""
    order: tuple[int, int] = (0, 0)
    """Epoch and revision of the profile that says so."""


class Source(Protocol):
    """Gives the ways, as of now."""

    @property
    def is_named(self) -> bool:
        """Whether somebody has chosen the one way that there is, so that no floor but theirs holds."""
        ...

    def settings(self) -> InnerSettings:
        """Raises: NotEnrolledError, BundleError."""
        ...

    def choices(self, wanted: str | None = None) -> Choices:
        """Return all that may be chosen, or those to one node by its id or name.

        Raises: NoSuchNodeError, NodeRefusedError; NotEnrolledError, BundleError.
        """
        ...

    def accept(self, names: Sequence[str]) -> None:
        """Take newcomers for known: somebody has said so."""
        ...


@attrs.frozen(kw_only=True)
class Outside:
    """How whatever leads out of this machine is opened."""

    protect: Protect | None = None
    resolve: Resolve = resolve_by_system
    random: Random = random_bytes


class FleetSource:
    """The nodes of a device's profile that it knows, read anew each time."""

    def __init__(
        self,
        store: ProfileStore,
        standings: Callable[[], Mapping[NodeId, Standing]],
        outside: Outside | None = None,
    ) -> None:
        self._store = store
        self._standings = standings
        self._outside = outside or Outside()

    is_named = False

    def settings(self) -> InnerSettings:
        profile = self._store.profile(_now())
        return InnerSettings(
            addresses=tuple(map(ipaddress.ip_interface, profile.addresses)),
            resolvers=tuple(map(ipaddress.ip_address, resolvers_of(profile))),
        )

    def choices(self, wanted: str | None = None) -> Choices:
        profile, secrets = self._store.profile(_now()), self._store.enrolled().secrets
        standings = self._standings()
        kept = self._store.bundle()
        order = (0, 0) if kept is None else kept[0]
        if wanted is not None:
            node = choose_node(profile, standings, wanted)
            return Choices(known=tuple(self._ways(profile, node, secrets, is_named=True)), order=order)
        nodes = {standing: [node for node in profile.nodes if standings[node.id] is standing] for standing in Standing}
        return Choices(
            known=tuple(way for node in nodes[Standing.KNOWN] for way in self._ways(profile, node, secrets)),
            newcomers=tuple(way for node in nodes[Standing.NEW] for way in self._ways(profile, node, secrets)),
            others=tuple(
                f"{node.name} ({standings[node.id].value})"
                for node in profile.nodes
                if standings[node.id] is not Standing.KNOWN
            ),
            order=order,
        )

    def accept(self, names: Sequence[str]) -> None:
        profile = self._store.profile(_now())
        for node in profile.nodes:
            if node.name in names:
                self._store.confirm(node, _now())

    def _ways(
        self, profile: Profile, node: ProfileNode, secrets: DeviceSecrets, *, is_named: bool = False
    ) -> Iterator[Candidate]:
        """Give the ways to a node that this device believes.

        Raises: NodeRefusedError, NoSuchNodeError — there is none to a node that was named.
        """
        examined = examine(profile.fleet, node)
        believed = examined.node
        if is_named and not believed.access:
            if examined.refused:
                raise NodeRefusedError(f"node {node.name}: " + "; ".join(examined.refused))
            raise NoSuchNodeError(f"node {node.name} offers no protocol that this version speaks; upgrade caravel")
        if believed.amneziawg:
            yield self._candidate(node, AMNEZIAWG, amnezia.plan_of_node(profile, believed, secrets))
        if believed.reality:
            try:
                plan = realityways.plan_of_node(profile, believed, secrets, random=self._outside.random)
            except NoSuchNodeError:
                if is_named and not believed.amneziawg:
                    raise
                return
            yield self._candidate(node, VLESS_REALITY, plan)

    def _candidate(self, node: ProfileNode, protocol: str, plan: AmneziaPlan | RealityPlan) -> Candidate:
        return candidate_of(node.id, node.name, protocol, plan, self._outside, tags=node.tags)


class LinkSource:
    """One share link: one way by REALITY into a node of anybody's."""

    is_named = True

    def __init__(self, kept: KeptLink, outside: Outside | None = None) -> None:
        outside = outside or Outside()
        plan = realityways.plan_of_link(kept.link, kept.options, random=outside.random)
        self._choices = Choices(known=(candidate_of(kept.name, kept.name, VLESS_REALITY, plan, outside),))

    def settings(self) -> InnerSettings:
        return InnerSettings(addresses=LINK_ADDRESSES)

    def choices(self, wanted: str | None = None) -> Choices:
        return _only(self._choices, wanted)

    def accept(self, names: Sequence[str]) -> None:
        """There are no newcomers."""


class ConfSource:
    """One configuration: one way by AmneziaWG, or by plain WireGuard, into a node of anybody's."""

    is_named = True

    def __init__(self, kept: KeptConf, outside: Outside | None = None) -> None:
        interface, peer = kept.conf.interface, kept.peer
        assert peer.endpoint is not None, "a configuration that is kept has one"
        host, port = peer.endpoint
        plan = AmneziaPlan(
            name=kept.name,
            private_key=interface.private_key,
            public_key=peer.public_key,
            ways=(WayIn(host=host, port=port, parameters=interface.parameters, preshared_key=peer.preshared_key),),
            allowed_ips=peer.allowed_ips,
            mtu=interface.mtu or DEFAULT_MTU,
            keepalive=KEEPALIVE if peer.persistent_keepalive is None else peer.persistent_keepalive,
        )
        hides = interface.parameters != PLAIN
        way = candidate_of(kept.name, kept.name, AMNEZIAWG, plan, outside or Outside(), hides=hides)
        self._choices = Choices(known=(way,))
        self._settings = InnerSettings(
            addresses=interface.addresses,
            # Search domains stand there as well.
            resolvers=tuple(address for text in interface.dns if (address := _address(text)) is not None),
            mtu=interface.mtu or DEFAULT_MTU,
        )

    def settings(self) -> InnerSettings:
        return self._settings

    def choices(self, wanted: str | None = None) -> Choices:
        return _only(self._choices, wanted)

    def accept(self, names: Sequence[str]) -> None:
        """There are no newcomers."""


def candidate_of(
    node: str,
    name: str,
    protocol: str,
    plan: AmneziaPlan | RealityPlan,
    outside: Outside,
    *,
    tags: tuple[str, ...] = (),
    hides: bool = True,
) -> Candidate:
    """Return a way that may be chosen, by the plan of its leg."""
    opened: OpenLeg
    if isinstance(plan, AmneziaPlan):
        place = plan.ways[0].host, plan.ways[0].port
        opened = functools.partial(open_amnezia_leg, plan, protect=outside.protect, resolve=outside.resolve)
    else:
        place = plan.ways[0].endpoint.host, plan.ways[0].endpoint.port
        opened = functools.partial(
            open_reality_leg, plan, protect=outside.protect, resolve=outside.resolve, random=outside.random
        )
    return Candidate(
        node=node, name=name, protocol=protocol, tags=tags, place=place, open=opened, hides=hides, plan=plan
    )


def _only(choices: Choices, wanted: str | None) -> Choices:
    if wanted is not None and wanted not in {one.name for one in choices.known}:
        raise NoSuchNodeError(f"there is no node {wanted!r} here; there is: {choices.known[0].name}")
    return choices


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _now() -> datetime.datetime:
    return utc_now()
