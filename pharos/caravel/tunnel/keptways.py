"""Connections by what this device keeps without a fleet: a share link or a configuration, by its name."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path

from pharos.caravel.profiles.confs import ConfStore, KeptConf
from pharos.caravel.profiles.links import KeptLink, LinkStore
from pharos.caravel.profiles.unlocking import Unlocking
from pharos.caravel.tunnel.candidates import ConfSource, LinkSource, Outside
from pharos.caravel.tunnel.connection import ConnectionPlan, open_connection
from pharos.caravel.tunnel.inner import InnerKind
from pharos.caravel.tunnel.options import ConnectOptions
from pharos.caravel.tunnel.parts import Inner, Protect
from pharos.caravel.tunnel.resolving import Resolver
from pharos.caravel.tunnel.session import Tunnel


def find_kept(path: Path, name: str, unlocking: Unlocking | None = None) -> KeptLink | KeptConf:
    """Return the link or configuration of that name; it is one of them.

    Raises: NoSuchLinkError, LockedStoreError, StateFileError.
    """
    for kept in ConfStore(path, unlocking).all():
        if kept.name == name:
            return kept
    return LinkStore(path, unlocking).find(name)


def open_kept(
    kept: KeptLink | KeptConf,
    *,
    inner: InnerKind | str | Inner = InnerKind.FAST,
    tun_fd: int | None = None,
    protect: Protect | None = None,
    options: ConnectOptions | None = None,
) -> AbstractAsyncContextManager[Tunnel]:
    """Return a context manager that keeps a connection up by it; as `pharos.caravel.client.Client.connect`.

    Raises: NoSuchNodeError — it is below the floor of ``options``. Opened, also what `open_inner` raises.
    """
    options = options or ConnectOptions()
    outside = Outside(protect=protect, resolve=Resolver(options.resolve))
    source = ConfSource(kept, outside) if isinstance(kept, KeptConf) else LinkSource(kept, outside)
    plan = ConnectionPlan(source=source, inner=inner, tun_fd=tun_fd, protect=protect, options=options)
    plan.check()
    return open_connection(plan)
