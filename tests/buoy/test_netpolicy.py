"""What keeps the network policy, as far as it goes without a kernel's firewall: its errors, its memory, its reading."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pharos.buoy import netkernel, netpolicy
from pharos.buoy.netkernel import (
    NetworkPolicyError,
    read_machine_resolvers,
    read_resolvers,
    read_switches,
    read_table,
    tell_nft,
    write_switch,
)
from pharos.buoy.netpolicy import FILE, FORMAT, NetworkKeeper
from pharos.wire.errors import StateFileError
from pharos.wire.files import StateFile
from pharos.wire.netpolicy import NetworkPlan
from pharos.wire.netrules import removal_document

PLAN = NetworkPlan(interfaces=("awg0",))
FORWARDS = {"net/ipv4/ip_forward": "0", "net/ipv6/conf/all/forwarding": "0"}


@pytest.fixture
def switches(tmp_path: Path) -> Path:
    """A tree such as the kernel's, where nothing moves anything along."""
    root = tmp_path / "sys"
    for name, value in {**FORWARDS, "net/ipv6/conf/eth0/accept_ra": "1", "kernel/core_pattern": "core"}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{value}\n")
    return root


def nft_that(monkeypatch: pytest.MonkeyPatch, folder: Path, does: str) -> None:
    """Put a program that fails in some way in the place of nft."""
    path = folder / "nft"
    path.write_text(f"#!/bin/sh\n{does}\n")
    path.chmod(0o755)
    monkeypatch.setattr(netkernel, "PATH", f"{folder}:/usr/bin:/bin")


async def test_a_machine_without_nft_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(netkernel, "PATH", str(tmp_path))
    with pytest.raises(NetworkPolicyError, match="apt-get install nftables"):
        await tell_nft(removal_document())


@pytest.mark.parametrize(
    ("does", "said"),
    [
        ("echo 'Error: Could not process rule: Operation not permitted' >&2; exit 1", "CAP_NET_ADMIN"),
        ("echo 'Error: No such file or directory; did you mean x' >&2; exit 1", "did you mean x"),
        ("exit 3", "code 3"),
    ],
)
async def test_what_nft_refuses_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, does: str, said: str) -> None:
    nft_that(monkeypatch, tmp_path, does)
    with pytest.raises(NetworkPolicyError, match=said):
        await tell_nft(removal_document())


async def test_an_nft_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    nft_that(monkeypatch, tmp_path, "exec sleep 600")
    monkeypatch.setattr(netkernel, "NFT_TIMEOUT", 0.2)
    with pytest.raises(NetworkPolicyError, match="did not end"):
        await tell_nft(removal_document())


@pytest.mark.parametrize("says", ["", "[]", "{}", '{"nftables": 1}', "table inet pharos"])
async def test_an_nft_without_json_is_no_empty_table(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, says: str
) -> None:
    nft_that(monkeypatch, tmp_path, f"echo '{says}'")
    with pytest.raises(NetworkPolicyError, match="nft answered"):
        await read_table()


async def test_a_table_that_is_not_there_is_an_empty_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    nft_that(monkeypatch, tmp_path, "echo 'Error: No such file or directory' >&2; exit 1")
    assert await read_table() == []


async def test_a_policy_that_could_not_be_set_is_kept_and_forwards_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, switches: Path
) -> None:
    nft_that(monkeypatch, tmp_path, "exit 1")
    keeper = NetworkKeeper(tmp_path / "state", switches=switches)
    with pytest.raises(NetworkPolicyError):
        await keeper.apply(PLAN)
    assert {name: (switches / name).read_text().strip() for name in FORWARDS} == FORWARDS
    # The next process tries it again.
    assert NetworkKeeper(tmp_path / "state", switches=switches).plan == PLAN


async def test_what_a_process_before_this_one_moved_goes_back(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, switches: Path
) -> None:
    before = read_switches(switches)
    state = tmp_path / "state"
    NetworkKeeper(state, switches=switches)
    StateFile(state / FILE, FORMAT, "").save({"plan": PLAN.as_json(), "before": before})
    for name, value in {"net/ipv4/ip_forward": "1", "net/ipv6/conf/eth0/accept_ra": "2"}.items():
        write_switch(name, value, switches)
    # As nobody of ours sets it: whoever did has his reasons.
    write_switch("net/ipv6/conf/all/forwarding", "2", switches)
    nft_that(monkeypatch, tmp_path, "exit 0")
    await NetworkKeeper(state, switches=switches).remove()
    assert read_switches(switches) == before | {"net/ipv6/conf/all/forwarding": "2"}
    assert [*state.iterdir()] == []


@pytest.mark.parametrize("path", ["kernel/core_pattern", "net/ipv4/../../kernel/core_pattern"])
async def test_a_memory_that_was_forged_writes_nothing_but_switches(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, switches: Path, path: str
) -> None:
    nft_that(monkeypatch, tmp_path, "exit 0")
    state = tmp_path / "state"
    keeper = NetworkKeeper(state, switches=switches)
    forged = {"plan": PLAN.as_json(), "before": {path: "|/tmp/canary"}}
    StateFile(state / FILE, FORMAT, "").save(forged)
    keeper = NetworkKeeper(state, switches=switches)
    assert keeper.plan is None
    await keeper.remove()
    assert (switches / "kernel/core_pattern").read_text() == "core\n"
    # Weakened: whatever the file names is written.
    StateFile(state / FILE, FORMAT, "").save(forged)
    for module in (netpolicy, netkernel):
        monkeypatch.setattr(module, "is_switch", lambda path, value: True)
    await NetworkKeeper(state, switches=switches).remove()
    assert (switches / "kernel/core_pattern").read_text().startswith("|/tmp/canary")


@pytest.mark.parametrize("body", [{}, {"plan": None, "before": {}}, {"plan": PLAN.as_json(), "before": []}])
def test_a_memory_of_another_kind_is_none(tmp_path: Path, switches: Path, body: dict[str, object]) -> None:
    state = tmp_path / "state"
    NetworkKeeper(state, switches=switches)
    StateFile(state / FILE, FORMAT, "").save(body)
    assert NetworkKeeper(state, switches=switches).plan is None
    (state / FILE).write_text(json.dumps({"format": FORMAT}))
    assert NetworkKeeper(state, switches=switches).plan is None


def test_a_directory_that_others_may_write_to_is_none(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o755)
    with pytest.raises(StateFileError, match="chmod 700"):
        NetworkKeeper(tmp_path / "state")


@pytest.mark.parametrize("name", ["kernel/core_pattern", "net/ipv4/conf/eth0/rp_filter", "../x"])
def test_what_is_no_switch_is_not_written(switches: Path, name: str) -> None:
    with pytest.raises(NetworkPolicyError, match="no switch"):
        write_switch(name, "1", switches)


def test_a_switch_of_an_interface_that_went_is_not_missed(switches: Path) -> None:
    write_switch("net/ipv6/conf/gone0/accept_ra", "1", switches)
    assert not (switches / "net/ipv6/conf/gone0").exists()


def test_resolvers_are_read_from_the_first_file_that_has_any_for_others(tmp_path: Path) -> None:
    stub, real = tmp_path / "stub", tmp_path / "real"
    stub.write_text("nameserver 127.0.0.53\nnameserver ::1\noptions edns0\n")
    lines = ["# nameserver 192.0.2.9", "nameserver", "nameserver fe80::1%eth0", "nameserver 169.254.1.1"]
    good = ["nameserver 192.0.2.1", "nameserver 2001:DB8::1 # ours", "nameserver 192.0.2.1", "nameserver 192.0.2.3"]
    real.write_text("\n".join([*lines, "nameserver x.example", *good, "nameserver 192.0.2.4"]))
    assert read_resolvers([tmp_path / "none", stub, real]) == ("192.0.2.1", "2001:db8::1", "192.0.2.3")
    assert read_resolvers([stub]) == ()


def test_programs_of_this_machine_ask_whom_any_of_the_files_names(tmp_path: Path) -> None:
    stub, real = tmp_path / "stub", tmp_path / "real"
    stub.write_text("nameserver 127.0.0.53\noptions edns0\n")
    real.write_text(
        "nameserver fe80::1%eth0\nnameserver 169.254.169.253\nnameserver x.example\nnameserver 127.0.0.53\n"
    )
    assert read_machine_resolvers([real, tmp_path / "none", stub]) == ("fe80::1", "169.254.169.253", "127.0.0.53")
    # resolv.conf(5): without a name server, the one on this machine.
    assert read_machine_resolvers([tmp_path / "none"]) == ("127.0.0.1", "::1")
