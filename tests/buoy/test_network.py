"""What the agent tells of the network: whom the firewall confines, and where a confined server dials by itself."""

from __future__ import annotations

import pwd
from collections.abc import Awaitable, Callable
from ipaddress import ip_network
from typing import Any, TypeAlias

import attrs
import pytest

from pharos.buoy.config import BuoyConfig
from pharos.buoy.dataplane import drivers
from pharos.buoy.dataplane.base import AwgPlan, EngineError, RealityEndpoint, RealityPlan
from pharos.buoy.dataplane.choose import Found
from pharos.buoy.network import Network, targets_of
from pharos.buoy.roothelper.acts import Act, Answer, Applied, ApplyNetwork
from pharos.wire.netpolicy import NetworkPlan, Target
from pharos.wire.reality.params import RealityParameters

UID = 991
NOBODY = AwgPlan(private_key=bytes(32))


def plan_of(*targets: str) -> RealityPlan:
    looks = [
        RealityParameters(target=target, server_names=("example.org",), short_ids=("",), generation=1)
        for target in targets
    ]
    return RealityPlan(
        endpoints=tuple(
            RealityEndpoint(port=443 + index, parameters=look, private_key=bytes(32))
            for index, look in enumerate(looks)
        )
    )


@attrs.define
class Machine:
    """A root helper that writes down what it was told."""

    said: list[NetworkPlan] = attrs.field(factory=list)
    broken: bool = False

    async def perform(self, act: Act) -> Answer:
        assert isinstance(act, ApplyNetwork)
        if self.broken:
            raise EngineError("the root helper is not there")
        self.said.append(act.plan)
        return Applied()


def confined(machine: Machine) -> Network:
    return Network(machine, ("awg0",), confined=(UID,), allowed_users=("10.9.0.0/24",))


async def test_the_firewall_hears_what_a_confined_server_dials_by_itself() -> None:
    machine = Machine()
    network = confined(machine)
    await network.apply(NOBODY, RealityPlan())
    plan = plan_of("127.0.0.1:8443", "[fd00::3]:443", "www.example.org:443", "example.net:443")
    await network.apply(NOBODY, plan)
    before, firewall = machine.said
    assert (before.confined, before.allowed_users, before.targets) == ((UID,), ("10.9.0.0/24",), ())
    assert firewall == attrs.evolve(
        before,
        targets=(
            Target(address="127.0.0.1", port=8443),
            Target(address="fd00::3", port=443),
            # Both by a name, and at one port.
            Target(address="", port=443),
        ),
    )
    await network.apply(NOBODY, plan)
    assert machine.said[2:] == [], "what is so already is not said again"
    await network.apply(NOBODY, plan_of("www.example.org:443"))
    assert machine.said[2] == attrs.evolve(before, targets=(Target(address="", port=443),))


async def test_where_nobody_is_confined_the_table_does_not_change_with_the_targets() -> None:
    machine = Machine()
    network = Network(machine, ("awg0",))
    for target in ("127.0.0.1:8443", "www.example.org:443"):
        await network.apply(NOBODY, plan_of(target))
    (told,) = machine.said
    assert told.targets == ()


async def test_a_firewall_that_was_away_is_told_when_it_is_back() -> None:
    machine = Machine(broken=True)
    network = confined(machine)
    plan = plan_of("127.0.0.1:8443")
    with pytest.raises(EngineError, match="root helper"):
        await network.apply(NOBODY, plan)
    machine.broken = False
    await network.apply(NOBODY, plan)
    (told,) = machine.said
    assert told.targets == (Target(address="127.0.0.1", port=8443),)


def test_a_server_without_an_endpoint_dials_nobody() -> None:
    assert targets_of(RealityPlan()) == ()


# -- whom the settings confine


@attrs.frozen
class _User:
    pw_uid: int


Enter: TypeAlias = Callable[..., Awaitable[NetworkPlan | None]]
USERS = {"pharos-xray": 991, "pharos-reality": 992}


@pytest.fixture
def machine_with(monkeypatch: pytest.MonkeyPatch) -> Enter:
    """Have a machine whose REALITY is served so, and read what its firewall is told."""

    def find_user(name: str) -> _User:
        return _User(USERS[name])

    async def enter(
        reality: str, *, interface: bool, find: Callable[[str], _User] = find_user, **settings: Any
    ) -> NetworkPlan | None:
        config = BuoyConfig(awg_driver="userspace" if interface else "embedded", awg_port=0, **settings)
        machine = Machine()
        monkeypatch.setattr(drivers, "probe_awg", lambda interface: (Found(name=config.awg_driver),))
        monkeypatch.setattr(drivers, "probe_reality", lambda: (Found(name=reality),))
        monkeypatch.setattr(drivers, "find_helper", lambda needed: machine)
        # There may be no Xray here, and none is told anything.
        monkeypatch.setattr(drivers, "_make_reality", lambda *_: None)
        monkeypatch.setattr(pwd, "getpwnam", find)
        with drivers.open_drivers(config, publish=lambda *_, **__: None) as made:
            if made.network is None:
                return None
            await made.network.apply(NOBODY, RealityPlan())
        (told,) = machine.said
        return told

    return enter


@pytest.mark.parametrize(("reality", "uid"), [("xray", (991,)), ("userspace", (992,)), ("embedded", ())])
async def test_the_user_of_a_server_outside_of_the_agent_is_confined(
    machine_with: Enter, reality: str, uid: tuple[int, ...]
) -> None:
    allowed = (ip_network("10.9.0.0/24"), ip_network("fd09::/64"), ip_network("10.9.0.0/24"))
    plan = await machine_with(reality, interface=True, reality_allowed=allowed)
    assert plan is not None
    assert (plan.interfaces[0], plan.confined) == ("awg0", uid)
    assert plan.allowed_users == ("10.9.0.0/24", "fd09::/64")


async def test_a_node_without_a_tunnel_has_a_firewall_for_xray_alone(machine_with: Enter) -> None:
    plan = await machine_with("xray", interface=False)
    assert plan is not None
    assert (plan.interfaces, plan.confined) == ((), (991,))
    assert await machine_with("userspace", interface=False) is None
    assert await machine_with("xray", interface=False, network=False) is None


async def test_a_server_whose_user_is_not_there_is_told_of(
    machine_with: Enter, caplog: pytest.LogCaptureFixture
) -> None:
    plan = await machine_with("xray", interface=True, find=lambda name: {}[name])
    assert plan is not None
    assert plan.confined == ()
    assert "pharos-xray" in caplog.text
