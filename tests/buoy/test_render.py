"""`buoy render`: files hold what drivers would be told, of whom is served now, and no secret is anywhere else."""

from __future__ import annotations

import base64
import ipaddress
import json
import stat
import uuid
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from pharos.buoy import render as rendering
from pharos.buoy.cli import main
from pharos.buoy.config import BuoyConfig
from pharos.buoy.dataplane.base import EngineError
from pharos.buoy.dataplane.kernel import make_kernel_awg
from pharos.buoy.dataplane.realityplan import Place, hosts_of
from pharos.buoy.quota import QuotaMeter
from pharos.buoy.render import conf_of, read_plans, write_awg, write_xray, xray_of
from pharos.buoy.roothelper.acts import Act, Answer, AwgDump, Done, DumpAwg, SetLink, SyncAwg
from pharos.buoy.serving import EXPIRED, QUOTA, REVOKED
from pharos.buoy.state import DesiredState
from pharos.buoy.xray.driver import XrayDriver
from pharos.buoy.xray.files import CANDIDATE_NAME
from pharos.wire import desired as orders
from pharos.wire.agent import AgentKeys
from pharos.wire.awg import conf
from pharos.wire.awg.confread import parse
from pharos.wire.awg.keys import public_key
from pharos.wire.console import Exit
from pharos.wire.desired import Desired, Fence, Peer, Policy, PreviousEndpoint, QuotaLease
from pharos.wire.files import StateFile
from pharos.wire.ids import DeviceId
from pharos.wire.keeping import Keeping
from pharos.wire.pki.roles import Role
from tests.buoy.dataplane.engines import Heard
from tests.support.agents import joined
from tests.support.commands import invoke
from tests.support.pki import home_fleet, utc_now
from tests.support.strategies import parameters_of, peer_of, reality_of
from tests.support.trust import Signer

NAMES = ("alice", "bob", "carol")
COMMAND = "touch canary"


def device(number: int, name: str, **changes: Any) -> Peer:
    """A device whose keys are real ones."""
    awg, derive = (public_key(bytes([number + first]) * 32) for first in (1, 101))
    return attrs.evolve(peer_of(number), device_id=DeviceId(name), awg_key=awg, derive_key=derive, **changes)


def ordered(*peers: Peer, **changes: Any) -> Desired:
    usual = Desired(
        fence=Fence(1, 1, 1),
        awg=parameters_of(1),
        reality=reality_of(1),
        addresses=("10.86.0.1", "fd00::1"),
        peers={peer.device_id: peer for peer in peers or [device(n, name) for n, name in enumerate(NAMES)]},
        policy=Policy(closed=("198.51.100.0/24",)),
        previous=(PreviousEndpoint(port=2053, awg=parameters_of(2), reality=reality_of(2, after=4), until=10**18),),
    )
    return attrs.evolve(usual, **changes)


@attrs.frozen
class Site:
    """A node's state directory, and a runtime directory beside it."""

    state: Path
    run: Path
    config: BuoyConfig
    keys: AgentKeys

    @property
    def awg(self) -> Path:
        return self.run / "awg0.conf"

    @property
    def xray(self) -> Path:
        return self.run / "config.json"

    def order(self, desired: Desired) -> None:
        trio.run(DesiredState(self.state).replace, desired)

    def plans(self) -> rendering.Plans:
        return read_plans(self.config, now=utc_now())

    def render(self) -> str:
        result = invoke(main, "render", "--state", self.state, "--awg", self.awg, "--xray", self.xray)
        assert result.exit_code == Exit.DONE, result.output
        return result.stdout


@pytest.fixture
def site(tmp_path: Path) -> Site:
    state, run = tmp_path / "state", tmp_path / "run"
    for folder in (state, run):
        folder.mkdir(mode=0o700)
    return Site(state=state, run=run, config=BuoyConfig(state=state), keys=joined(state, name="node-1"))


@attrs.define
class Helper:
    """Hears what the kernel's driver asks for."""

    acts: list[Act] = attrs.field(factory=list)

    async def perform(self, act: Act) -> Answer:
        await trio.lowlevel.checkpoint()
        self.acts.append(act)
        return AwgDump(port=443) if isinstance(act, DumpAwg) else Done()

    def of(self, kind: type) -> Any:
        (found,) = [act for act in self.acts if isinstance(act, kind)]
        return found


# -- what is in the files


async def test_file_of_awg_quick_says_what_the_kernels_driver_says(site: Site) -> None:
    await DesiredState(site.state).replace(ordered())
    plan = site.plans().awg
    write_awg(site.awg, plan)
    helper, heard = Helper(), Heard()
    driver = make_kernel_awg(on_event=heard.on_event, helper=helper, interfaces=["awg0"])
    async with trio.open_nursery() as nursery:
        await nursery.start(driver.run)
        # One interface serves one endpoint: the one in use.
        await driver.apply(attrs.evolve(plan, endpoints=plan.endpoints[:1]))
        nursery.cancel_scope.cancel()
    link, sync = helper.of(SetLink), helper.of(SyncAwg)
    written = parse(site.awg.read_text())
    interface = written.interface
    assert (interface.private_key, interface.listen_port) == (sync.private_key, sync.port)
    assert interface.parameters == sync.parameters == parameters_of(1)
    assert [(one.public_key, one.preshared_key, one.allowed_ips) for one in written.peers] == [
        (one.public_key, one.preshared_key, one.networks) for one in sync.peers
    ]
    assert (interface.addresses, interface.mtu) == (link.addresses, link.mtu)
    # awg-quick routes what it allows.
    routed = {network for peer in written.peers for network in peer.allowed_ips}
    assert all(any(one.version == wide.version and one.subnet_of(wide) for wide in link.networks) for one in routed)
    assert (interface.hooks, interface.save_config, interface.table) == ((), False, "auto")


async def test_file_of_xray_is_the_one_its_driver_would_write(site: Site) -> None:
    await DesiredState(site.state).replace(ordered())
    plan, heard = site.plans().reality, Heard()
    write_xray(site.xray, plan, site.config)

    async def nothing(*_: object) -> None:
        raise AssertionError("there is no Xray")

    driver = XrayDriver(
        program=Path("/bin/false"),
        runtime=site.run,
        place=Place(hosts=hosts_of(site.config.host), allowed=site.config.reality_allowed),
        runner=nothing,  # type: ignore[arg-type]  # it does not come to that
        kill=nothing,
        on_event=heard.on_event,
    )
    with pytest.raises(EngineError, match="refuses its configuration"):
        await driver.apply(plan)
    assert (site.run / CANDIDATE_NAME).read_bytes() == site.xray.read_bytes()
    assert len(json.loads(site.xray.read_bytes())["inbounds"]) == 1 + 2, "the endpoint before is served, too"


def test_files_are_for_those_who_read_them_and_xrays_log_is_a_pipe(site: Site) -> None:
    site.order(ordered())
    assert site.render() == f"{site.awg}: 3 peers\n{site.xray}: 3 users\n"
    assert stat.S_IMODE(site.awg.stat().st_mode) == 0o600
    assert stat.S_IMODE(site.xray.stat().st_mode) == 0o640
    assert stat.S_ISFIFO((site.run / "access.fifo").stat().st_mode)


def test_without_parameters_there_are_no_files_and_those_of_before_go(site: Site) -> None:
    site.order(ordered())
    site.render()
    site.order(ordered(fence=Fence(1, 1, 2), awg=None, reality=None, previous=()))
    assert site.render() == f"{site.awg}: nothing is ordered\n{site.xray}: nothing is ordered\n"
    assert not site.awg.exists()
    assert not site.xray.exists()


def test_only_one_of_them_is_written_where_one_is_asked_for(site: Site) -> None:
    site.order(ordered())
    invoke(main, "render", "--state", site.state, "--awg", site.awg)
    assert [path.name for path in site.run.iterdir()] == ["awg0.conf"]
    assert invoke(main, "render", "--state", site.state).exit_code == Exit.USAGE


def test_ports_and_networks_are_those_of_the_settings(site: Site, tmp_path: Path) -> None:
    site.order(ordered())
    settings = tmp_path / "buoy.toml"
    settings.write_text(
        f'state = "{site.state}"\nhost = "127.0.0.1"\nawg_port = 51820\nreality_port = 8443\n'
        'reality_allowed = ["10.9.0.0/24"]\n'
    )
    invoke(main, "render", "--config", settings, "--awg", site.awg, "--xray", site.xray)
    document = json.loads(site.xray.read_bytes())
    assert parse(site.awg.read_text()).interface.listen_port == 51820
    assert [(one["listen"], one["port"]) for one in document["inbounds"][1:]] == [
        ("127.0.0.1", 8443),
        ("127.0.0.1", 2053),
    ]
    assert {"ip": ["10.9.0.0/24"], "outboundTag": "direct"} in document["routing"]["rules"]


# -- whom they serve


async def test_who_is_expired_over_quota_or_denied_at_that_moment_is_left_out(site: Site) -> None:
    soon = int(utc_now().timestamp() * 1_000_000) + 3600 * 1_000_000
    peers = [
        device(0, "expired", expires_at=1),
        device(1, "later", expires_at=soon),
        device(2, "spent", quota=QuotaLease(id=1, octets=100)),
        device(3, "sparing", quota=QuotaLease(id=1, octets=100)),
        device(4, "revoked"),
        device(5, "half", protocols=("reality",)),
    ]
    usage = StateFile(site.state / "usage.json", "pharos/buoy-usage/v1", "")
    usage.save({"used": {"spent": [1, 100], "sparing": [1, 99]}})
    assert QuotaMeter(site.state).used(DeviceId("spent")) == 100
    helm, member = Signer(), site.keys.membership(now=utc_now())
    revoked = home_fleet().identity(Role.DEVICE, "revoked")
    # The agent was killed between deny list and peers.
    await Keeping(site.state, site.keys, member).take(manifest=helm.manifest(), deny_list=helm.deny_list(revoked))
    await DesiredState(site.state).replace(ordered(*peers))
    plans = site.plans()
    assert plans.left_out == {"expired": EXPIRED, "spent": QUOTA, "revoked": REVOKED}
    assert set(plans.awg.peers) == {"later", "sparing"}
    assert set(plans.reality.users) == {"later", "sparing", "half"}
    write_awg(site.awg, plans.awg)
    write_xray(site.xray, plans.reality, site.config)
    keys = {peer.awg_key: peer.device_id for peer in peers}
    assert {keys[one.public_key] for one in parse(site.awg.read_text()).peers} == {"later", "sparing"}
    clients = json.loads(site.xray.read_bytes())["inbounds"][1]["settings"]["clients"]
    assert {client["email"] for client in clients} == {"later", "sparing", "half"}


def test_parameters_of_before_are_in_xrays_file_until_their_time_is_over(site: Site) -> None:
    over = PreviousEndpoint(port=2053, reality=reality_of(2, after=4), until=1)
    site.order(ordered(previous=(over,)))
    assert [endpoint.port for endpoint in site.plans().reality.endpoints] == [443]


# -- what stays where it is


def every_spelling(secret: bytes) -> list[bytes]:
    spelt = [secret, secret.hex().encode(), base64.b64encode(secret), base64.urlsafe_b64encode(secret).rstrip(b"=")]
    return [*spelt, str(uuid.UUID(bytes=secret)).encode()] if len(secret) == 16 else spelt


def test_nothing_derived_is_in_any_file_but_those_two_and_the_state_is_as_it_was(site: Site, tmp_path: Path) -> None:
    site.order(ordered())
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in site.state.iterdir()}
    printed = site.render()
    plans = site.plans()
    secrets = [peer.preshared_key for peer in plans.awg.peers.values()]
    secrets += [user.user_id for user in plans.reality.users.values()]
    secrets += [endpoint.private_key for endpoint in plans.reality.endpoints]
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in site.state.iterdir()} == before
    holders = set()
    for path in tmp_path.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            found = sum(any(one in data for one in every_spelling(secret)) for secret in secrets)
            holders |= {path} if found else set()
    assert holders == {site.awg, site.xray}
    assert not any(one.decode("latin-1") in printed for secret in secrets for one in every_spelling(secret))
    assert "private_key" not in repr(plans)


def test_what_cannot_be_written_is_one_sentence(site: Site) -> None:
    site.order(ordered())
    result = invoke(main, "render", "--state", site.state, "--awg", site.run / "absent" / "awg0.conf")
    assert (result.exit_code, "cannot be written" in result.output) == (Exit.FAILED, True)
    result = invoke(main, "render", "--state", site.state, "--xray", site.run / "another.json")
    assert (result.exit_code, "config.json" in result.output) == (Exit.FAILED, True)


# -- row 60: whoever commands the node, or writes its orders, gets no command run by root's shell

HOSTILE = f"fe80::1%\nPostUp = {COMMAND}\n#"


def test_a60_turns_red_where_an_address_is_a_text(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orders, "check_address", ipaddress.ip_address)
    monkeypatch.setattr(conf, "check_fields", lambda section, keys: None)
    monkeypatch.setattr(rendering, "check_space", lambda networks: None)
    site.order(ordered(addresses=(HOSTILE,)))
    site.render()
    assert f"\nPostUp = {COMMAND}\n" in site.awg.read_text()


@pytest.mark.parametrize("text", [HOSTILE, "10.86.0.1\nPostUp = x", "10.86.0.1 # ", "fe80::1%eth0", ""])
def test_a60_hostile_address_of_the_node_is_refused_before_a_file_is_written(site: Site, text: str) -> None:
    site.order(ordered(addresses=(text,)))
    result = invoke(main, "render", "--state", site.state, "--awg", site.awg)
    assert (result.exit_code, site.awg.exists()) == (Exit.FAILED, False)
    assert "is corrupt" in result.output
    # And if the state's own check let it pass, the file's does not.
    plan = attrs.evolve(site_plan(site), addresses=(text,))
    with pytest.raises((EngineError, ValueError)):
        write_awg(site.awg, plan)
    assert not site.awg.exists()


def site_plan(site: Site) -> Any:
    site.order(ordered())
    return site.plans().awg


@pytest.mark.parametrize("network", ["0.0.0.0/0", "::/0", "203.0.113.0/24", "2000::/3"])
def test_a60_network_of_a_device_that_would_lead_the_nodes_own_traffic_away_is_refused(
    site: Site, network: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.order(ordered(device(1, "greedy", addresses=(network,))))
    plan = site.plans().awg
    with pytest.raises(EngineError, match="neither private"):
        write_awg(site.awg, plan)
    assert not site.awg.exists()
    monkeypatch.setattr(rendering, "check_space", lambda networks: None)
    assert conf_of(plan, "awg0").peers[0].allowed_ips == (ip_network(network),), "awg-quick would route it"


def test_user_of_xray_has_the_name_of_its_device_and_no_other_key(site: Site) -> None:
    site.order(ordered())
    document = xray_of(site.run, site.plans().reality, site.config).document()
    assert [client.keys() for client in document["inbounds"][1]["settings"]["clients"]] == [
        {"id", "email", "flow"}
    ] * len(NAMES)
