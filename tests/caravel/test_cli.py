"""The `caravel` command, as a person and as a script meets it."""

from __future__ import annotations

import json
from pathlib import Path

import trio
from click.testing import CliRunner, Result

from pharos.caravel.cli import main
from pharos.wire.console import Exit
from tests.caravel.test_proxy import running_proxy
from tests.support.fleet import Fleet, running_fleet


async def caravel(fleet: Fleet, *arguments: str, stdin: str | None = None) -> Result:
    """Run the command beside the fleet's own loop, as another process would."""
    state = ["--state", str(fleet.folder / "device-laptop")]
    runner = CliRunner()
    return await trio.to_thread.run_sync(lambda: runner.invoke(main, [*arguments, *state], input=stdin))


async def test_enrol_profiles_status_and_doctor_work_in_turn(tmp_path: Path) -> None:
    async with running_fleet(tmp_path) as fleet:
        link = (await fleet.invite()).render()
        joined = await caravel(fleet, "enroll", "-", "--json", stdin=link + "\n")
        assert joined.exit_code == Exit.DONE, joined.output
        facts = json.loads(joined.stdout)
        assert facts["nodes"] == ["a"]
        await fleet.wait_settled(peers=1)

        listed = json.loads((await caravel(fleet, "profiles", "--json")).stdout)
        assert listed["synced"] is True
        assert [node["name"] for node in listed["nodes"]] == ["a"]

        status = json.loads((await caravel(fleet, "status", "--json")).stdout)
        assert status["device"] == facts["device"]

        examined = await caravel(fleet, "doctor", "--count", "3", "--json")
        assert examined.exit_code == Exit.DONE, examined.output
        told = json.loads(examined.stdout)
        levels = {finding["id"]: finding["level"] for finding in told["findings"]}
        assert told["healthy"] is True
        for id_ in ("certificate", "profile", "clock", "helm", "node:a:amneziawg", "udp", "mtu"):
            assert levels[id_] == "ok", examined.stdout


async def test_doctor_forgives_an_absent_helm_and_not_an_absent_node(tmp_path: Path) -> None:
    async with running_fleet(tmp_path) as fleet:
        await fleet.enrol()
        await fleet.wait_settled(peers=1)
        await fleet.helm.stop()
        examined = await caravel(fleet, "doctor", "--count", "2")
        assert examined.exit_code == Exit.DONE, examined.output
        assert "not connected" in examined.stdout
        await fleet.buoys["a"].stop()
        examined = await caravel(fleet, "doctor", "--count", "2")
        assert examined.exit_code == Exit.UNREACHABLE
        assert "did not answer" in examined.stdout


async def test_used_ticket_exits_as_refused_and_dead_relay_as_unreachable(tmp_path: Path) -> None:
    async with running_fleet(tmp_path) as fleet:
        ticket = await fleet.invite("other")
        await fleet.enrol("other")
        link = ticket.render()
        await caravel(fleet, "enroll", link)
        again = CliRunner()
        second = await trio.to_thread.run_sync(
            lambda: again.invoke(main, ["enroll", link, "--state", str(tmp_path / "second")])
        )
        assert second.exit_code == Exit.REFUSED
        assert "used up" in second.stderr
        assert fleet.beacon is not None
        fresh = (await fleet.invite()).render()
        await fleet.beacon.stop()
        third = await trio.to_thread.run_sync(
            lambda: again.invoke(main, ["enroll", fresh, "--state", str(tmp_path / "third")])
        )
        assert third.exit_code == Exit.UNREACHABLE


def test_what_is_no_link_is_told_so_without_quoting_it(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["enroll", "pharosvpn://enroll?s=hunter2", "--state", str(tmp_path / "s")])
    assert done.exit_code == Exit.FAILED
    assert "not a complete ticket link" in done.stderr
    assert "hunter2" not in done.output


def test_device_in_no_fleet_is_told_how_to_join(tmp_path: Path) -> None:
    for command in ("profiles", "status", "doctor"):
        done = CliRunner().invoke(main, [command, "--state", str(tmp_path / "s")])
        assert done.exit_code == Exit.FAILED
        assert "caravel enroll" in done.stderr


def test_every_command_has_an_example() -> None:
    for name in main.commands:
        assert "Example:" in CliRunner().invoke(main, [name, "--help"]).output


async def test_proxy_goes_through_whichever_node_answers_and_is_looked_at_and_steered(tmp_path: Path) -> None:
    async with running_fleet(tmp_path, buoys=("a", "b"), timeout=120) as fleet:
        await fleet.enrol()
        await fleet.wait_settled(peers=1)
        assert json.loads((await caravel(fleet, "status", "--json")).stdout)["connection"] is None
        async with running_proxy(fleet.folder / "device-laptop", "--http", "0") as told:
            status = json.loads((await caravel(fleet, "status", "--json")).stdout)["connection"]
            assert (status["phase"], status["name"], status["system"]) == ("up", told["through"], False)
            shown = (await caravel(fleet, "status")).stdout
            assert f"Connected to {told['through']} by AmneziaWG" in shown
            other = "b" if told["through"] == "a" else "a"
            switched = json.loads((await caravel(fleet, "switch", other, "--json")).stdout)
            assert switched["name"] == other
            refused = await caravel(fleet, "switch", "atlantis")
            assert (refused.exit_code, "atlantis" in refused.stderr) == (Exit.FAILED, True)
            examined = json.loads((await caravel(fleet, "doctor", "--count", "2", "--json")).stdout)
            assert {"connection": "ok"}.items() <= {one["id"]: one["level"] for one in examined["findings"]}.items()
        done = await caravel(fleet, "switch", other)
        assert (done.exit_code, "no connection is up" in done.stderr) == (Exit.FAILED, True)
