"""Which drivers a buoy's settings ask for and its machine has, made and ready to be told."""

from __future__ import annotations

import functools
import logging
import os
import pwd
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import attrs

from pharos.buoy.config import BuoyConfig
from pharos.buoy.dataplane.base import AwgDriver, AwgPlan, EngineError, OnEvent, Publish, RealityDriver
from pharos.buoy.dataplane.choose import EMBEDDED, KERNEL, USERSPACE, XRAY, choose
from pharos.buoy.dataplane.kernel import make_kernel_awg
from pharos.buoy.dataplane.links import link_by_helper, main_link
from pharos.buoy.dataplane.outside import interfaces_from
from pharos.buoy.dataplane.probing import probe_awg, probe_reality
from pharos.buoy.dataplane.reality import make_embedded, make_userspace
from pharos.buoy.dataplane.realityplan import EVERY_IPV4, Place, hosts_of
from pharos.buoy.dataplane.userspace import make_userspace_awg, restart_by_helper
from pharos.buoy.network import Network
from pharos.buoy.roothelper.acts import Interface, Unit
from pharos.buoy.roothelper.client import SOCKET, RootHelper, SocketRootHelper
from pharos.buoy.roothelper.local import LocalRootHelper
from pharos.wire.reports import AMNEZIAWG, REALITY

log = logging.getLogger(__name__)

XRAY_RUNTIME: Final = Path("/run/pharos-xray")
"""Where Xray's unit reads what it is to be; a directory of its group, empty after a reboot."""
LOCAL_MEMORY: Final = Path("/run/pharos-buoy-network")
"""What the network was before a policy that an agent put in force as root; of no use after a reboot."""
_TUNNELS: Final = frozenset({KERNEL, USERSPACE})
_USERS: Final = {XRAY: "pharos-xray", USERSPACE: "pharos-reality"}
"""As whom the units of these servers run."""


@attrs.frozen(kw_only=True)
class Drivers:
    """What carries the packets of one node."""

    awg: AwgDriver
    reality: RealityDriver
    network: Network | None
    """None where there is neither a tunnel interface nor an Xray, or the operator keeps the rules."""
    helper: RootHelper


@contextmanager
def open_drivers(config: BuoyConfig, *, publish: Publish) -> Iterator[Drivers]:
    """Have the drivers while the block lasts.

    Raises: EngineError — one that was asked for is not there. OSError — a port or an interface cannot be had.
    """
    awg = choose(config.awg_driver, probe_awg(interface=config.interface))
    reality = choose(config.reality_driver, probe_reality())
    log.info("AmneziaWG by %s: %s; REALITY by %s: %s", awg.name, awg.reason, reality.name, reality.reason)
    interfaces = _interfaces(config, awg.name)
    confined = _confined(reality.name)
    # Our own server heeds its rules for each datagram, so for it alone no firewall is needed.
    needed = bool(interfaces) or (reality.name == XRAY and bool(confined))
    helper = find_helper(needed=needed)
    network = _make_network(config, helper, interfaces, confined) if config.network and needed else None
    with _open_awg(config, awg.name, helper, functools.partial(publish, protocol=AMNEZIAWG)) as driver:
        yield Drivers(
            awg=driver,
            reality=_make_reality(config, reality.name, helper, functools.partial(publish, protocol=REALITY)),
            network=network,
            helper=helper,
        )


def find_helper(*, needed: bool) -> RootHelper:
    """Return who does what takes root: the helper's process, or this one where it is root and there is no helper."""
    if needed and os.geteuid() == 0 and not SOCKET.exists():
        return LocalRootHelper(LOCAL_MEMORY)
    return SocketRootHelper()


def _confined(name: str) -> tuple[int, ...]:
    """The user of a server of REALITY, for the firewall to know it by."""
    user = _USERS.get(name)
    if user is None:
        return ()
    try:
        return (pwd.getpwnam(user).pw_uid,)
    except KeyError:
        log.warning("there is no user %s, so the firewall does not know what REALITY's server sends", user)
        return ()


def _make_network(
    config: BuoyConfig, helper: RootHelper, interfaces: tuple[str, ...], confined: tuple[int, ...]
) -> Network:
    return Network(
        helper,
        interfaces,
        allowed=tuple(map(str, config.network_allowed)),
        egress=config.egress,
        transit=config.transit,
        confined=confined,
        allowed_users=tuple(dict.fromkeys(map(str, config.reality_allowed))),
    )


def _interfaces(config: BuoyConfig, name: str) -> tuple[str, ...]:
    if name in _TUNNELS:
        return tuple(interfaces_from(config.interface))
    return (config.embedded_interface,) if config.embedded_interface else ()


@contextmanager
def _open_awg(config: BuoyConfig, name: str, helper: RootHelper, on_event: OnEvent) -> Iterator[AwgDriver]:
    if name == EMBEDDED:
        # No other node needs to load a TCP/IP stack.
        from pharos.buoy.dataplane.embedded import open_embedded_awg

        interface = config.embedded_interface
        by_helper = link_by_helper(helper)

        async def set_link(plan: AwgPlan) -> None:
            await by_helper(main_link(plan, interface))

        # Every address is those of IPv6, too.
        host = None if config.host == EVERY_IPV4 else config.host
        with open_embedded_awg(
            host=host,
            port=config.awg_port,
            on_event=on_event,
            interface=interface,
            set_link=set_link,
            rootless_exit=config.rootless_exit,
            allowed=config.reality_allowed,
        ) as driver:
            yield driver
    elif name == KERNEL:
        yield make_kernel_awg(on_event=on_event, helper=helper, interfaces=_interfaces(config, name))
    else:
        yield make_userspace_awg(
            on_event=on_event,
            set_link=link_by_helper(helper),
            restart=restart_by_helper(helper, Unit.awg(Interface(config.interface))),
            interfaces=_interfaces(config, name),
        )


def _make_reality(config: BuoyConfig, name: str, helper: RootHelper, on_event: OnEvent) -> RealityDriver:
    place = Place(hosts=hosts_of(config.host), allowed=config.reality_allowed)
    if name == EMBEDDED:
        return make_embedded(place=place, on_event=on_event)
    if name == USERSPACE:
        return make_userspace(place=place, on_event=on_event, restart=restart_by_helper(helper, Unit.REALITY))
    # Half of Xray's driver is its gRPC and its model, which no other node needs to load.
    from pharos.buoy.xray.driver import XrayDriver
    from pharos.buoy.xray.runner import UnitRunner, kill_through

    program = shutil.which("xray")
    if program is None:
        raise EngineError("the program xray is not on the PATH")
    return XrayDriver(
        program=Path(program),
        runtime=XRAY_RUNTIME,
        place=place,
        runner=UnitRunner(helper),
        kill=kill_through(helper),
        on_event=on_event,
    )
