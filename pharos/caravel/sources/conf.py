"""A configuration of `awg-quick` or `wg-quick`: a tunnel to one node."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import attrs

from pharos.caravel.errors import SourceError
from pharos.caravel.profiles.confs import MAX_CONF, KeptConf, check_usable
from pharos.caravel.sources.base import Choices, Preview, SourceKind, Taken
from pharos.caravel.sources.joining import check_managed
from pharos.caravel.sources.keeping import keep
from pharos.wire.awg.conf import TunnelConf
from pharos.wire.awg.confread import parse
from pharos.wire.awg.params import PLAIN
from pharos.wire.errors import ParameterError

MAX_SHOWN: Final = 8
"""Addresses or networks in a preview."""


@attrs.frozen(kw_only=True)
class ConfSource:
    """A configuration, and what it is called where nobody says otherwise."""

    conf: TunnelConf
    name: str

    @property
    def kind(self) -> SourceKind:
        return SourceKind.CONF

    def preview(self) -> Preview:
        return Preview(
            kind=self.kind,
            title=f"a tunnel by {protocol_of(self.conf)}",
            items=(describe(self.name, self.conf),),
            does="It would be kept under this name. Nothing is connected by that, and no fleet is joined.",
            warnings=tuple(warnings_of(self.conf)),
        )

    async def take(self, path: Path, choices: Choices) -> Taken:
        check_managed(choices, self.kind)
        kept = KeptConf(name=choices.name or self.name, conf=self.conf)
        keep(path, choices, confs=(kept,))
        return Taken(kind=self.kind, confs=(kept,))


def read_conf(text: str, *, name: str = "") -> ConfSource:
    """Read a file. ``name`` is of the file it came in; else it is called as its node's host.

    Raises: ParameterError — with line, key and rule; commands for root's shell are refused. SourceError — too long.
    """
    if len(text) > MAX_CONF:
        raise SourceError(f"a configuration has at most {MAX_CONF} characters; this is another file")
    try:
        conf = check_usable(parse(text, hooks=True))
    except ParameterError as error:
        raise ParameterError(f"this configuration cannot be taken: {error}") from None
    return ConfSource(conf=conf, name=name or place_of(conf)[0])


def protocol_of(conf: TunnelConf) -> str:
    """Return what it speaks, as people call it."""
    return "WireGuard" if conf.interface.parameters == PLAIN else "AmneziaWG"


def place_of(conf: TunnelConf) -> tuple[str, int]:
    """Return host and port of the node."""
    endpoint = conf.peers[0].endpoint
    assert endpoint is not None, "it was checked"
    return endpoint


def describe(name: str, conf: TunnelConf) -> str:
    """Return one line about a configuration, without its secrets."""
    host, port = place_of(conf)
    shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    networks = [str(network) for network in conf.peers[0].allowed_ips]
    through = ", ".join(networks[:MAX_SHOWN]) + (f" and {len(networks) - MAX_SHOWN} more" * (len(networks) > MAX_SHOWN))
    return f"{name}  {shown}, for {through or 'nothing'}"


def warnings_of(conf: TunnelConf) -> list[str]:
    """Return what is unwise in it, as sentences."""
    found = []
    if conf.interface.parameters == PLAIN:
        found.append("Plain WireGuard is known to whoever watches the line, and blocked where VPNs are.")
    interface = conf.interface
    left = [
        name
        for name, is_said in (
            ("ListenPort", interface.listen_port is not None),
            ("FwMark", bool(interface.fwmark)),
            ("Table", interface.table != "auto"),
            ("SaveConfig", interface.save_config),
        )
        if is_said
    ]
    if left:
        found.append(f"{', '.join(left)}: kept, and of no effect; caravel chooses these itself.")
    return found
