"""What the system tests need of a machine, and how to get it."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from pathlib import Path

TOOLS = {
    "ip": "iproute2",
    "nft": "nftables",
    "nsenter": "util-linux",
    "ping": "iputils-ping",
}
MACHINE_TOOLS = {"systemd-nspawn": "systemd-container", "mmdebstrap": "mmdebstrap", "ssh": "openssh-client"}
BARE_TOOLS = {"dpkg-scanpackages": "dpkg-dev", "make": "make", "curl": "curl"}
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


@functools.cache
def missing_for_lab() -> str | None:
    """Return what keeps network namespaces from working here, or None."""
    if os.geteuid() != 0:
        return "network namespaces need root: run the system tests as root"
    missing = sorted({package for tool, package in TOOLS.items() if shutil.which(tool) is None})
    if missing:
        return f"the lab's tools are missing: apt install {' '.join(missing)}"
    try:
        subprocess.run(["unshare", "--net", "true"], capture_output=True, check=True)
    except subprocess.CalledProcessError as error:
        return f"no network namespaces here (a container needs CAP_SYS_ADMIN): {error.stderr.decode().strip()}"
    return None


@functools.cache
def missing_for_machines() -> str | None:
    """Return what keeps nspawn machines in a lab from working here, or None."""
    if (missing := missing_for_lab()) is not None:
        return missing
    tools = sorted({package for tool, package in MACHINE_TOOLS.items() if shutil.which(tool) is None})
    if not KEYRING.exists():
        tools.append(KEYRING.stem)
    return f"the machines' tools are missing: apt install {' '.join(tools)}" if tools else None


@functools.cache
def missing_for_bare_machines() -> str | None:
    """Return what keeps stories of bare servers from being told here, or None."""
    if (missing := missing_for_machines()) is not None:
        return missing
    tools = sorted({package for tool, package in BARE_TOOLS.items() if shutil.which(tool) is None})
    return f"what makes a mirror and a fleet is missing: apt install {' '.join(tools)}" if tools else None
