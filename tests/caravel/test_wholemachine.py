"""What a file, its user and an organisation say becomes one plan for a machine."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from pharos.caravel.config import CONFIG_NAME, ConnectConfig, config_file
from pharos.caravel.errors import AlreadyRunningError
from pharos.caravel.managed import Floor, Managed, ManagedSplit, SplitMode
from pharos.caravel.running import SOCKET_NAME, open_control
from pharos.caravel.wholemachine import MachinePlan, open_machine
from pharos.wire.config import read_config
from pharos.wire.errors import ConfigError
from tests.caravel.test_pins import node, profile
from tests.caravel.test_running import Connection


def plan(managed: Managed | None = None, **values: object) -> MachinePlan:
    return MachinePlan(state=Path("/nowhere"), config=ConnectConfig(**values), managed=managed)  # type: ignore[arg-type]


def test_what_nobody_says_is_safe() -> None:
    made = plan().system_plan(DEVICE)
    assert (made.kill_switch, made.hold, made.lan, made.serve) == (True, False, True, ())
    assert plan().floor is Floor.ANY


def test_names_are_asked_of_the_profiles_resolvers_else_of_the_node_unless_the_user_says_otherwise() -> None:
    def asked(made: MachinePlan, **changes: object) -> list[str]:
        return [str(one) for one in made.system_plan(attrs.evolve(DEVICE, **changes)).resolvers]  # type: ignore[arg-type]

    assert asked(plan()) == ["10.86.0.1"]
    assert asked(plan(), resolvers=("10.9.9.9",)) == ["10.9.9.9"]
    assert asked(plan(resolvers=("192.0.2.53",)), resolvers=("10.9.9.9",)) == ["192.0.2.53"]


def test_organisation_wins_over_its_user() -> None:
    managed = Managed(
        organisation="Harbour",
        kill_switch=True,
        allow_lan=False,
        floor=Floor.REALITY,
        split=ManagedSplit(mode=SplitMode.EXCLUDE, routes=("192.0.2.0/24",)),
    )
    made = plan(managed, kill_switch=False, lan=True, floor="any", split={"mode": "off"})
    system = made.system_plan(DEVICE)
    assert (system.kill_switch, system.lan) == (True, False)
    assert [str(one) for one in system.outside] == ["192.0.2.0/24"]
    assert made.floor is Floor.REALITY


def test_user_decides_what_the_organisation_does_not() -> None:
    made = plan(Managed(organisation="Harbour"), kill_switch=False, lan=False, floor="amneziawg").system_plan(DEVICE)
    assert (made.kill_switch, made.lan) == (False, False)


def test_file_of_the_state_directory_is_read_and_a_named_one_instead(tmp_path: Path) -> None:
    assert config_file(tmp_path, None) is None
    (tmp_path / CONFIG_NAME).write_text('node = "oslo"\nserve = [22]\n[split]\nmode = "exclude"\nusers = ["backup"]\n')
    config = read_config(ConnectConfig, config_file(tmp_path, None), {"lan": False})
    assert (config.node, config.serve, config.lan) == ("oslo", (22,), False)
    assert MachinePlan(state=tmp_path, config=config).split.users == ("backup",)
    assert config_file(tmp_path, tmp_path / "other.toml") == tmp_path / "other.toml"


@pytest.mark.parametrize(
    "text", ['floor = "plain"', "mtu = 12", 'serve = ["ssh"]', "serve = [0]", "nod = 1", "lan = 1", "split = 3"]
)
def test_value_that_does_not_fit_is_told_by_its_key(tmp_path: Path, text: str) -> None:
    path = tmp_path / CONFIG_NAME
    path.write_text(text)
    with pytest.raises(ConfigError, match=text.split()[0]):
        read_config(ConnectConfig, path, {})


async def test_machine_is_not_touched_while_a_connection_of_the_device_is_up(tmp_path: Path) -> None:
    async with open_control(tmp_path / SOCKET_NAME, Connection().running()):
        with pytest.raises(AlreadyRunningError, match="caravel down"):
            async with open_machine(MachinePlan(state=tmp_path, config=ConnectConfig())):
                pass


DEVICE = attrs.evolve(profile(node("a")), addresses=("10.86.0.2/32",))
