"""Configurations of AmneziaWG and WireGuard that this device keeps: tunnels to anybody's node, without a fleet."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import attrs

from pharos.caravel.errors import LinkNameTakenError, NoSuchLinkError
from pharos.caravel.profiles.layout import split
from pharos.caravel.profiles.links import check_name
from pharos.caravel.profiles.sealedfile import SealedFile
from pharos.caravel.profiles.unlocking import Unlocking
from pharos.caravel.profiles.vault import Vault
from pharos.wire.awg.conf import PeerSection, TunnelConf, render
from pharos.wire.awg.confread import parse
from pharos.wire.errors import ParameterError, StateFileError, WireError
from pharos.wire.units import KIB

MAX_CONFS: Final = 100
"""Of `MAX_CONF` at most: far below what a state file may have."""
MAX_CONF: Final = 256 * KIB
"""Characters. One peer with a few hundred networks takes 10 KiB, and I packets of a usual size a few more."""


@attrs.frozen(kw_only=True)
class KeptConf:
    """Raises: LinkFormatError — the name is none. ParameterError — nobody could connect by it."""

    name: str
    """Unique among this device's configurations and links."""
    conf: TunnelConf

    def __attrs_post_init__(self) -> None:
        check_name(self.name)
        check_usable(self.conf)

    @property
    def peer(self) -> PeerSection:
        """The other end."""
        return self.conf.peers[0]


def check_usable(conf: TunnelConf) -> TunnelConf:
    """Return a configuration if it leads from this device to one node.

    Raises: ParameterError — it is a server's, lacks what a device needs, or would have root's shell run something.
    """
    if conf.interface.hooks:
        raise ParameterError("PreUp, PostUp, PreDown, PostDown: caravel runs no commands of a file; take them out")
    if not conf.interface.private_key:
        raise ParameterError("PrivateKey: must be there; a file without it is half of one, ask for the whole")
    if not conf.interface.addresses:
        raise ParameterError("Address: must be there, or nothing could go through the tunnel")
    if len(conf.peers) != 1:
        raise ParameterError(f"[Peer]: must be there once, and is {len(conf.peers)} times: a file leads to one node")
    if conf.peers[0].endpoint is None:
        raise ParameterError("Endpoint: must be there; this is the file of a node, not of a device")
    return conf


class ConfStore:
    """The configurations in a device's directory, which need not be enrolled. One process writes at a time."""

    def __init__(self, path: Path, unlocking: Unlocking | None = None) -> None:
        vault = Vault(split(path)[0], unlocking)
        self.path = vault.root
        remedy = "restore it from a copy, or remove it and import the configurations again"
        self._file = SealedFile(vault, self.path / "confs.json", "pharos/device-confs/v1", remedy)

    def all(self) -> tuple[KeptConf, ...]:
        """Return them in the order of their import.

        Raises: LockedStoreError. StateFileError — the file is damaged; it was left as it is.
        """
        body = self._file.load()
        if body is None:
            return ()
        try:
            return tuple(map(_conf_from, body["confs"]))
        except (KeyError, TypeError, ValueError, WireError) as error:
            # The error's own text could quote a key.
            raise StateFileError(
                f"{self.path / 'confs.json'} is damaged ({type(error).__name__}); it was left as it is"
            ) from None

    def find(self, name: str) -> KeptConf:
        """Raises: NoSuchLinkError."""
        kept = self.all()
        found = [one for one in kept if one.name == name]
        if not found:
            known = ", ".join(one.name for one in kept) or "none"
            raise NoSuchLinkError(f"there is no configuration {name!r} here; there are: {known}")
        return found[0]

    def add(self, *confs: KeptConf, replace: bool = False) -> None:
        """Keep all of them, or none; the same one again changes nothing. Durable when this returns.

        Raises: LinkNameTakenError — another has that name, and ``replace`` was not said. ParameterError — they would
        be too many.
        """
        kept = {one.name: one for one in self.all()}
        for one in confs:
            if not replace and kept.get(one.name, one) != one:
                raise LinkNameTakenError(f"another is called {one.name!r} already; choose --name, or --replace it")
            kept[one.name] = one
        if len(kept) > MAX_CONFS:
            raise ParameterError(f"a device keeps {MAX_CONFS} configurations at most; forget some of them")
        self._save(kept.values())

    def remove(self, name: str) -> None:
        """Forget one. Raises: NoSuchLinkError."""
        gone = self.find(name)
        self._save(one for one in self.all() if one.name != gone.name)

    def _save(self, confs: Iterable[KeptConf]) -> None:
        self._file.save({"confs": [{"name": one.name, "conf": render(one.conf)} for one in confs]})


def _conf_from(body: dict[str, Any]) -> KeptConf:
    return KeptConf(name=str(body["name"]), conf=parse(body["conf"]))
