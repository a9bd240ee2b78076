"""Whether a machine will do: each of the things that are against one, and the words for it."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from pharos.helm.onboard.join.judge import Standing, find_problems, is_broken, is_installed
from pharos.helm.onboard.join.parts import Part
from pharos.helm.onboard.join.wish import Wish, name_of
from pharos.helm.onboard.remote import Destination, Facts
from pharos.wire.units import MIB
from tests.support.sandbox import FACTS

BOTH = (Part.BUOY, Part.BEACON)
HERE = Destination.parse("root@203.0.113.7")


def problems(parts: tuple[Part, ...] = (Part.BUOY,), **facts: Any) -> list[str]:
    found = {key: value for key, value in facts.items() if key != "standing"}
    wish = Wish(destination=HERE, parts=parts)
    return find_problems(attrs.evolve(FACTS, **found), wish, "fleet", facts.get("standing", {}))


@pytest.mark.parametrize(("distribution", "release"), [("debian", "12"), ("debian", "13"), ("ubuntu", "24.04")])
def test_the_three_systems_will_do(distribution: str, release: str) -> None:
    assert problems(distribution=distribution, release=release) == []
    assert problems(BOTH, distribution=distribution, release=release, arch="arm64") == []


def test_another_system_is_named_with_those_that_will_do() -> None:
    (said,) = problems(distribution="fedora", release="41")
    assert said == "it runs fedora 41; Pharos takes Debian 12, Debian 13 or Ubuntu 24.04"
    (said,) = problems(distribution="ubuntu", release="22.04")
    assert "its Python is 3.10, and 3.11 is needed" in said
    (said,) = problems(arch="riscv64")
    assert said == "its architecture is riscv64; Pharos takes amd64 or arm64"


def test_full_disk_is_told_with_what_is_needed_unless_all_is_installed() -> None:
    full = {"/usr": 3 * MIB, "/var": 10**10}
    (said,) = problems(free=full)
    assert said == "its disk is full: 3 MiB are free below /usr, and 150 MiB are needed"
    assert "230 MiB" in problems(BOTH, free=full)[0]
    assert problems(free=full, packages={"pharos-buoy": ("0.1.0", "installed")}) == []


def test_port_that_is_taken_is_told_with_its_process() -> None:
    (said,) = problems(taken={"tcp/443": "nginx", "tcp/22": "sshd"})
    assert said.startswith("TCP 443 is taken by nginx, and is where devices are to come in")
    assert "UDP 443 is taken by the kernel" in problems(taken={"udp/443": ""})[0]
    # With a buoy beside it, a beacon leaves 443 to REALITY.
    assert problems((Part.BEACON,), taken={"tcp/8443": "caddy"}) == []
    assert "TCP 8443 is taken by caddy" in problems(BOTH, taken={"tcp/8443": "caddy"})[0]


def test_ports_that_our_own_agents_have_are_not_taken() -> None:
    ours = {"tcp/7443": "buoy", "tcp/443": "pharos-reality", "udp/443": ""}
    assert problems(taken=ours, packages={"pharos-buoy": ("0.1.0", "installed")}) == []
    assert len(problems(taken=ours)) == 3


def test_node_of_another_fleet_is_refused_with_what_makes_it_bare() -> None:
    standing = {Part.BUOY: Standing(id="x", fleet="another")}
    (said,) = problems(standing=standing)
    assert said.startswith("it is a node of another fleet (another)")
    assert "apt-get purge pharos-buoy" in said
    assert problems(standing={Part.BUOY: Standing(id="x", fleet="fleet")}) == []


@pytest.mark.parametrize("state", ["half-installed", "unpacked", "half-configured", "triggers-pending"])
def test_installation_that_was_broken_off_is_none(state: str) -> None:
    facts: Facts = attrs.evolve(FACTS, packages={"pharos-buoy": ("0.1.0", state)})
    assert (is_broken(facts, Part.BUOY), is_installed(facts, Part.BUOY)) == (True, False)
    assert not is_broken(attrs.evolve(FACTS, packages={"pharos-buoy": ("0.1.0", "config-files")}), Part.BUOY)


@pytest.mark.parametrize(
    ("destination", "hostname", "name"),
    [
        ("root@203.0.113.7", "vps-17.example.net\n", "vps-17"),
        ("root@203.0.113.7", "debian", "203.0.113.7"),
        ("amsterdam", "localhost", "amsterdam"),
        ("root@gate.example.org", "", "gate"),
    ],
)
def test_machine_that_nobody_named_is_called_as_it_calls_itself(destination: str, hostname: str, name: str) -> None:
    assert name_of(Destination.parse(destination), hostname) == name
