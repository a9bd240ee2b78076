"""The agents that have a package, and how their packages differ."""

from __future__ import annotations

from typing import Final

from deb.package import Companion, Package

AWG: Final = Companion(
    command="pharos-awg",
    module="pharos.wire.awg.process",
    units=("pharos-awg@.service",),
    user="pharos-awg",
    running="'pharos-awg@*.service'",
)
REALITY: Final = Companion(
    command="pharos-reality",
    module="pharos.wire.reality.process",
    units=("pharos-reality.service",),
    user="pharos-reality",
    running="pharos-reality.service",
)
XRAY: Final = Companion(
    command="xray",
    module=None,
    units=("pharos-xray.service",),
    user="pharos-xray",
    running="pharos-xray.service",
)
HELPER: Final = Companion(
    command="pharos-buoy-helper",
    module="pharos.buoy.roothelper.process",
    units=("pharos-buoy-helper.socket", "pharos-buoy-helper.service"),
    user=None,
    running="pharos-buoy-helper.socket pharos-buoy-helper.service",
    restarts=True,
    farewell="pharos-buoy-helper --undo",
)
BUOY: Final = Package(
    command="buoy",
    summary="VPN node of a Pharos fleet",
    description=(
        "The agent of a node: it serves AmneziaWG tunnels to the clients that the",
        "fleet's controller (helm) names, tells it what it sees, and goes on serving",
        "from its own disk while the controller is away. It dials nobody.",
    ),
    companions=(AWG, REALITY, XRAY, HELPER),
    oneshots=("pharos-buoy-render.service",),
    depends=("iproute2", "nftables"),
    # It has engines of its own, and uses these where they are.
    suggests=("amneziawg-tools", "xray"),
    traces=("/run/pharos-xray", "/run/pharos-buoy-helper"),
)
BEACON: Final = Package(
    command="beacon",
    summary="relay of a Pharos fleet, the way in for its clients",
    description=(
        "The agent of a relay: clients' sessions to the fleet's controller (helm) pass",
        "through it sealed. It keeps no database, can read nothing of what it forwards,",
        "and carries no VPN engine.",
    ),
)
AGENTS: Final = (BUOY, BEACON)
