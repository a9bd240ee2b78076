"""What a machine has for each driver, read from its files; nothing is started or loaded, and no right is needed."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from pharos.buoy.dataplane.choose import EMBEDDED, KERNEL, USERSPACE, XRAY, Found

MODULE: Final = "amneziawg"
"""The kernel's own `wireguard` knows no obfuscation, which every node of a fleet has."""
BINARIES: Final = ("usr/local/sbin", "usr/local/bin", "usr/sbin", "usr/bin", "sbin", "bin")
_HELPER: Final = "run/pharos-buoy-helper.sock"
_ENABLED: Final = "etc/systemd/system/multi-user.target.wants"
# modules.dep of a distribution's kernel is half a megabyte.
_MAX_LIST_BYTES: Final = 16 * 1024 * 1024
_ROOT: Final = Path("/")


def probe_awg(*, interface: str = "awg0", root: Path = _ROOT, release: str | None = None) -> tuple[Found, ...]:
    """Return what is here for each driver of AmneziaWG, best first."""
    sockets = [root / "run" / folder / f"{interface}.sock" for folder in ("amneziawg", "wireguard")]
    return (
        _found(
            KERNEL,
            (_has_module(root, release or os.uname().release), f"the kernel module {MODULE}"),
            (_has_binary(root, "awg"), "the tool awg"),
            (_is_socket(root / _HELPER), "the root helper"),
        ),
        _process(
            f"an engine of {interface}",
            sockets,
            root,
            f"pharos-awg@{interface}.service",
            # Some containers have none, and the unit is passed over there.
            can_start=(root / "dev/net/tun").exists(),
        ),
        Found(name=EMBEDDED, here=("the engine inside the agent",)),
    )


def probe_reality(*, root: Path = _ROOT) -> tuple[Found, ...]:
    """Return what is here for each driver of REALITY, best first."""
    control = root / "run/pharos-reality/control.sock"
    return (
        _found(
            XRAY,
            (_has_binary(root, "xray"), "the program xray"),
            (_is_socket(root / _HELPER), "the root helper"),
        ),
        _process("a REALITY server", [control], root, "pharos-reality.service"),
        Found(name=EMBEDDED, here=("the server inside the agent",)),
    )


def _found(name: str, *needs: tuple[bool, str]) -> Found:
    return Found(
        name=name,
        here=tuple(f"{what} is here" for has, what in needs if has),
        missing=tuple(what for has, what in needs if not has),
    )


def _process(what: str, sockets: Iterable[Path], root: Path, unit: str, *, can_start: bool = True) -> Found:
    """An engine in a process of its own: it answers, or systemd starts it as it has started us."""
    for path in sockets:
        if _answers(path):
            return Found(name=USERSPACE, here=(f"{what} answers at /{path.relative_to(root)}",))
    if can_start and os.path.lexists(root / _ENABLED / unit):
        return Found(name=USERSPACE, here=(f"{unit} is enabled",))
    return Found(name=USERSPACE, missing=(f"{what} that answers, or {unit} enabled",))


def _has_binary(root: Path, name: str) -> bool:
    return any(os.access(root / folder / name, os.X_OK) for folder in BINARIES)


def _has_module(root: Path, release: str) -> bool:
    """It is loaded, or `ip link add` would load it."""
    if (root / "sys/module" / MODULE).exists():
        return True
    for file in ("modules.dep", "modules.builtin"):
        try:
            with (root / "lib/modules" / release / file).open("rb") as lines:
                if f"/{MODULE}.ko".encode() in lines.read(_MAX_LIST_BYTES):
                    return True
        except OSError:
            continue
    return False


def _is_socket(path: Path) -> bool:
    try:
        return path.is_socket()
    except OSError:
        return False


def _answers(path: Path) -> bool:
    """Somebody listens; an engine that was killed leaves its socket behind."""
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            sock.connect(str(path))
        except OSError:
            return False
    return True
