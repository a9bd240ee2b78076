"""What engines read that start without an agent: derived from its state at this moment, and written where no reboot
leaves it.

On disk lies what helm pushed and the node's own keys; preshared keys and user ids follow from both, each time anew.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_interface, ip_network
from pathlib import Path
from typing import Final

import attrs

from pharos.buoy.config import BuoyConfig
from pharos.buoy.dataplane.base import AwgPlan, EngineError, RealityPlan
from pharos.buoy.dataplane.links import main_link
from pharos.buoy.dataplane.plans import Planner
from pharos.buoy.dataplane.realityplan import Place, hosts_of
from pharos.buoy.quota import QuotaMeter
from pharos.buoy.roothelper.checks import check_space
from pharos.buoy.serving import REVOKED, is_denied, reasons_to_cut, served
from pharos.buoy.state import DesiredState
from pharos.buoy.xray.files import CONFIG_MODE
from pharos.buoy.xray.model import ACCESS_LOG_NAME, CONFIG_NAME, XrayConfig
from pharos.buoy.xray.model import render as render_document
from pharos.buoy.xray.observe import make_pipe
from pharos.buoy.xray.own import own_addresses
from pharos.buoy.xray.places import listen_address
from pharos.buoy.xray.validate import check_rendered
from pharos.wire.agent import AgentKeys
from pharos.wire.awg.conf import InterfaceSection, PeerSection, TunnelConf
from pharos.wire.awg.conf import render as render_conf
from pharos.wire.errors import ParameterError
from pharos.wire.files import open_state_directory, write_atomic
from pharos.wire.ids import DeviceId
from pharos.wire.kept import deny_list_of, load_kept, sound, trust_file
from pharos.wire.pki.roles import Role
from pharos.wire.world import this_world

MICROSECONDS: Final = 1_000_000
"""Of a second."""


@attrs.frozen(kw_only=True)
class Plans:
    """What both engines are to be at one moment."""

    awg: AwgPlan
    reality: RealityPlan
    left_out: dict[DeviceId, str]
    """Devices that helm ordered and that are not served, and why."""


def read_plans(config: BuoyConfig, *, now: datetime.datetime) -> Plans:
    """Make the plans that an agent which started ``now`` would make; nothing in the state directory is changed.

    Raises: StateFileError — a file is damaged. AgentError — this machine is not in a fleet. RemoteProtocolError — a
    key cannot be used.
    """
    folder = open_state_directory(config.state)
    keys = AgentKeys(folder, Role.NODE)
    membership = keys.membership(now=now)
    desired = DesiredState(folder).load()
    file = trust_file(folder)
    with sound(file):
        deny_list = deny_list_of(load_kept(file), membership.trust.fleet)
    moment = int(now.timestamp() * MICROSECONDS)
    left_out = reasons_to_cut(desired.peers, now=moment, meter=QuotaMeter(folder))
    left_out |= {device_id: REVOKED for device_id, peer in desired.peers.items() if is_denied(deny_list, peer)}
    present = served(desired, left_out, now=moment)
    planner = Planner(membership=membership, keys=keys, awg_port=config.awg_port, reality_port=config.reality_port)
    return Plans(awg=planner.awg(present), reality=planner.reality(present), left_out=left_out)


def write_awg(path: Path, plan: AwgPlan) -> None:
    """Write what awg-quick makes the endpoint in use of, for its owner alone; without one there is no file.

    Raises: EngineError — a value is none that goes into such a file, or the file cannot be written.
    """
    with _writing(path):
        if plan.endpoints:
            write_atomic(path, render_conf(conf_of(plan, path.stem)).encode())
        else:
            this_world().unlink(path, missing_ok=True)


def conf_of(plan: AwgPlan, interface: str) -> TunnelConf:
    """Return the endpoint in use as a file says it; those before it are told by the agent.

    Raises: ParameterError — a value does not fit its key, or an address is none of the space that devices have theirs
    in: awg-quick routes into the tunnel whatever a peer may send from, and runs as root.
    """
    link = main_link(plan, interface)
    networks = {peer.device_id: tuple(map(ip_network, peer.addresses)) for peer in plan.peers.values()}
    addresses = tuple(map(ip_interface, link.addresses))
    try:
        check_space([*(one.network for one in addresses), *(one for some in networks.values() for one in some)])
    except ValueError as error:
        raise ParameterError(f"AllowedIPs: {error}") from error
    endpoint = plan.endpoints[0]
    return TunnelConf(
        interface=InterfaceSection(
            private_key=plan.private_key,
            listen_port=endpoint.port,
            addresses=addresses,
            mtu=link.mtu,
            parameters=endpoint.parameters,
        ),
        peers=tuple(
            PeerSection(
                public_key=peer.public_key,
                preshared_key=peer.preshared_key,
                allowed_ips=networks[peer.device_id],
            )
            for peer in plan.peers.values()
        ),
    )


def write_xray(path: Path, plan: RealityPlan, config: BuoyConfig) -> None:
    """Write what Xray reads, for its group too, and the pipe beside it that it logs to; without an endpoint no file.

    Raises: EngineError — a rule is broken, or a file cannot be written.
    """
    if path.name != CONFIG_NAME:
        raise EngineError(f"{path} is not read by Xray's unit; name a file {CONFIG_NAME}")
    with _writing(path):
        if plan.endpoints:
            data = render_document(xray_of(path.parent, plan, config).document())
            check_rendered(data, runtime=path.parent)
            # Without it Xray would make a file of where its users go.
            make_pipe(path.with_name(ACCESS_LOG_NAME))
            write_atomic(path, data, mode=CONFIG_MODE)
        else:
            this_world().unlink(path, missing_ok=True)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Raises: EngineError — a rule is broken, or the file cannot be written; it is as it was."""
    try:
        yield
    except ParameterError as error:
        raise EngineError(f"{path} is not written: {error}") from error
    except OSError as error:
        raise EngineError(f"{path} cannot be written: {error.strerror}") from error


def xray_of(runtime: Path, plan: RealityPlan, config: BuoyConfig) -> XrayConfig:
    """Return what Xray's driver would have it be, so that the driver finds nothing to do."""
    place = Place(hosts=hosts_of(config.host), allowed=config.reality_allowed)
    return XrayConfig(
        runtime=runtime,
        listen=listen_address(place.hosts),
        endpoints=plan.endpoints,
        users=plan.users,
        policy=plan.policy,
        allowed=tuple(map(str, place.allowed)),
        own=own_addresses(),
    )
