"""The packages that are no agents': the controller's and the client's."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Final

from deb.agents import AGENTS
from deb.package import Package

# cffi needs the first to compile bindings, sqlite-utils the second for a command that installs plugins, and rich the
# others to colour source text and Markdown, of which nothing here prints any.
NEVER_RUN: Final = frozenset({"pycparser", "pip", "markdown-it-py", "mdurl", "pygments"})

HELM: Final = Package(
    command="helm",
    summary="controller of a Pharos fleet",
    description=(
        "The controller commands a fleet's nodes (buoys) and relays (beacons). It dials",
        "them and listens on this machine alone, where its admin page is. The packages",
        "that it installs on nodes and relays are inside.",
    ),
    # `pharos demo` runs the programs of all.
    further=(("pharos", "pharos.cli"),),
    whole=(PurePosixPath("pharos"),),
    lock="runtime",
    # A controller reads no codes from images; these are 35 MB for four Pythons.
    left_out=NEVER_RUN | {"pillow", "zxing-cpp"},
    does_without=frozenset({"PIL", "zxingcpp"}),
    environment=(("PHAROS_HELM_STATE", "/var/lib/pharos-helm"),),
    # It puts agents on machines through it.
    recommends=("openssh-client",),
    carries_page=True,
    carries_agents=True,
)
CARAVEL: Final = Package(
    command="caravel",
    summary="client of a Pharos fleet",
    description=(
        "The client makes this machine a device of a fleet: it keeps its profile, opens",
        "tunnels inside its own process, without root, and offers them as a proxy. It",
        "also brings an admin to the fleet's controller from afar.",
    ),
    daemon=False,
    whole=(PurePosixPath("pharos/caravel"),),
    lock="caravel",
    left_out=NEVER_RUN,
    # Codes in images take 25 MB for four Pythons; the others are for programs that have the library aboard, and theirs.
    does_without=frozenset({"PIL", "zxingcpp", "httpx", "httpcore", "anyio"}),
    # For `caravel up`.
    recommends=("nftables",),
)
PACKAGES: Final = (*AGENTS, HELM, CARAVEL)
