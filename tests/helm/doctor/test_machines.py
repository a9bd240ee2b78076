"""What the doctor makes of what nodes say of their engines and machines."""

from __future__ import annotations

from typing import Any

import pytest

from pharos.helm.doctor.machines import LEAST_DISK, LEAST_MEMORY, check_machines
from pharos.helm.doctor.reach import Member
from pharos.wire.findings import Finding, Level
from pharos.wire.pki.roles import Role
from pharos.wire.units import GIB

MEMBER = Member(role=Role.NODE, id="n", name="amsterdam", host="203.0.113.7", port=7443)
WELL = {
    "load": 90.0,
    "memory_bytes": GIB,
    "memory_available_bytes": GIB // 2,
    "disk_bytes": 20 * GIB,
    "disk_free_bytes": 10 * GIB,
}


def found(machine: dict[str, Any] | None = None, *engines: dict[str, Any], link: str = "up") -> list[Finding]:
    return check_machines([MEMBER], {"n": {"link": link, "engines": engines, "machine": machine}})


def test_machine_that_is_well_is_not_mentioned() -> None:
    engine = {"protocol": "amneziawg", "driver": "kernel", "trouble": None}
    assert found(WELL, engine) == found(None) == check_machines([MEMBER], {}) == []


def test_engine_in_trouble_is_a_problem_with_the_command_that_begins_it_anew() -> None:
    (finding,) = found(WELL, {"protocol": "vless-reality", "driver": "xray", "trouble": "port 443 is taken"})
    assert (finding.id, finding.level) == ("engine:amsterdam:vless-reality", Level.PROBLEM)
    assert finding.says == "Node amsterdam has trouble with vless-reality (xray): port 443 is taken."
    assert "helm nodes restart amsterdam --protocol vless-reality" in finding.todo


def test_network_policy_has_no_engine_to_begin_anew() -> None:
    (finding,) = found(WELL, {"protocol": "network", "driver": "nftables", "trouble": "ufw is in the way."})
    assert finding.says.endswith("ufw is in the way.")
    assert "helm nodes restart" not in finding.todo


@pytest.mark.parametrize(
    ("size", "free", "told"),
    [
        (20 * GIB, GIB - 1, True),
        (20 * GIB, GIB, False),
        (GIB, LEAST_DISK - 1, True),
        (GIB, LEAST_DISK, False),
        (20 * GIB, 0, True),
        (None, None, False),
    ],
)
def test_disk_is_a_problem_below_a_twentieth_or_what_a_busy_day_takes(
    size: int | None, free: int | None, *, told: bool
) -> None:
    findings = found(WELL | {"disk_bytes": size, "disk_free_bytes": free})
    assert [(one.id, one.level) for one in findings] == ([("disk:amsterdam", Level.PROBLEM)] if told else [])


@pytest.mark.parametrize(("available", "told"), [(LEAST_MEMORY - 1, True), (LEAST_MEMORY, False), (None, False)])
def test_little_memory_is_noted(available: int | None, *, told: bool) -> None:
    findings = found(WELL | {"memory_available_bytes": available})
    assert [(one.id, one.level) for one in findings] == ([("memory:amsterdam", Level.NOTE)] if told else [])


def test_what_a_node_said_before_it_was_lost_is_not_told() -> None:
    assert found(WELL | {"disk_free_bytes": 0}, link="lost") == []
