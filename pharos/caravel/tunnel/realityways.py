"""From what a device holds, a profile or a share link, to a REALITY tunnel."""

from __future__ import annotations

import logging
from contextlib import AbstractAsyncContextManager
from typing import Final

from pharos.caravel.errors import NoSuchNodeError
from pharos.caravel.profiles.store import DeviceSecrets
from pharos.caravel.tunnel.amnezia import pairing_of
from pharos.caravel.tunnel.parts import Protect
from pharos.caravel.tunnel.reality import RealityTunnel, Way, open_reality_tunnel
from pharos.caravel.tunnel.realityplan import RealityPlan
from pharos.wire.profile import Profile, ProfileNode, RealityAccess
from pharos.wire.reality.addresses import Address, canonical_host
from pharos.wire.reality.client import ClientSettings
from pharos.wire.reality.draws import Random, choice
from pharos.wire.reality.options import (
    DEFAULT_OPTIONS,
    DialOptions,
    Endpoint,
    endpoint_of,
    pad_short_id,
    parrot_of,
)
from pharos.wire.reality.parrots import CHROME
from pharos.wire.reality.sharelink import FINGERPRINTS, ShareLink
from pharos.wire.reality.vless import Flow
from pharos.wire.seal.blind import derive_uuid
from pharos.wire.world import random_bytes

log = logging.getLogger(__name__)

_FLOWS: Final = {flow.value: flow for flow in Flow}


def open_node_reality(
    profile: Profile,
    node: ProfileNode,
    secrets: DeviceSecrets,
    *,
    random: Random = random_bytes,
    protect: Protect | None = None,
) -> AbstractAsyncContextManager[RealityTunnel]:
    """Return a context manager that holds a tunnel to ``node``, whose keys were examined.

    Raises: NoSuchNodeError — it offers no REALITY that this version speaks.
    """
    plan = plan_of_node(profile, node, secrets, random=random)
    return open_reality_tunnel(plan.name, plan.ways, plan.user_ids, random=random, protect=protect)


def plan_of_node(
    profile: Profile, node: ProfileNode, secrets: DeviceSecrets, *, random: Random = random_bytes
) -> RealityPlan:
    """Return how this device reaches a node, whose keys were examined, by REALITY.

    Raises: NoSuchNodeError — it offers no REALITY that this version speaks.
    """
    ways = [(access, way) for access in node.reality if (way := _way_of(node, access, random)) is not None]
    if not ways:
        raise NoSuchNodeError(f"node {node.name} offers no REALITY that this version speaks; see: caravel profiles")
    return RealityPlan(
        name=f"node {node.name}",
        identity=node.derive_key,
        access=tuple(access for access, _ in ways),
        ways=tuple(way for _, way in ways),
        # The next one as well: see `pharos.caravel.tunnel.retrying`.
        user_ids=tuple(
            derive_uuid(pairing_of(profile, node, secrets, generation), secrets.derive).bytes
            for generation in (node.generation, node.generation + 1)
            if generation < 2**32
        ),
    )


def link_of_node(profile: Profile, node: ProfileNode, secrets: DeviceSecrets) -> ShareLink:
    """Return a share link for a node's best way in, by which another program is this device to it.

    It is good until the node's parameters or this device's secret are re-issued.

    Raises: NoSuchNodeError — it offers no REALITY that links can say.
    """
    for access in node.reality:
        if access.flow in _FLOWS and (host := canonical_host(access.host.lower())) is not None:
            return ShareLink(
                user_id=derive_uuid(pairing_of(profile, node, secrets, node.generation), secrets.derive).bytes,
                address=Address(host, access.port),
                public_key=access.public_key,
                server_name=access.server_names[0],
                short_id=access.short_ids[0],
                flow=access.flow,
                fingerprint=access.fingerprint if access.fingerprint in FINGERPRINTS else CHROME.name,
                name=node.name,
            )
    raise NoSuchNodeError(f"node {node.name} offers no REALITY that this version speaks; see: caravel profiles")


def open_link_reality(
    link: ShareLink,
    options: DialOptions = DEFAULT_OPTIONS,
    *,
    random: Random = random_bytes,
    protect: Protect | None = None,
) -> AbstractAsyncContextManager[RealityTunnel]:
    """Return a context manager that holds a tunnel by a share link; no enrolment is needed."""
    plan = plan_of_link(link, options, random=random)
    return open_reality_tunnel(plan.name, plan.ways, plan.user_ids, random=random, protect=protect)


def plan_of_link(
    link: ShareLink, options: DialOptions = DEFAULT_OPTIONS, *, random: Random = random_bytes
) -> RealityPlan:
    """Return how a share link's node is reached."""
    return RealityPlan(
        name=link.name or str(link.address),
        identity=link.public_key,
        access=((link, options),),
        ways=(Way(endpoint=endpoint_of(link, options, random=random), flow=link.vless_flow),),
        user_ids=(link.user_id,),
    )


def _way_of(node: ProfileNode, access: RealityAccess, random: Random) -> Way | None:
    flow = _FLOWS.get(access.flow)
    if flow is None:
        log.warning("a way in to node %s is not used: this version does not know its flow", node.name)
        return None
    settings = ClientSettings(
        # Any of them is as good; each tunnel stays with one, as one browser visits one site.
        server_name=choice(random, access.server_names),
        public_key=access.public_key,
        short_id=pad_short_id(choice(random, access.short_ids)),
        parrot=parrot_of(access.fingerprint, random=random),
    )
    return Way(endpoint=Endpoint(host=access.host, port=access.port, settings=settings), flow=flow)
