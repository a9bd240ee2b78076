"""A machine becomes a member step by step, whatever happens on the way; what is undone leaves nothing."""

from __future__ import annotations

import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import attrs
import pytest

from pharos.helm.model.admins import OPERATOR
from pharos.helm.onboard.join.desk import Seen
from pharos.helm.onboard.join.engine import join, rehearse, undo
from pharos.helm.onboard.join.errors import RefusedMachineError, StepError
from pharos.helm.onboard.join.events import (
    Emit,
    Event,
    Joined,
    StepBegun,
    StepDone,
    StepFailed,
    StepId,
    StepProgress,
    Stopped,
)
from pharos.helm.onboard.join.inside import ServiceDesk
from pharos.helm.onboard.join.parts import Part
from pharos.helm.onboard.join.steps import STEPS
from pharos.helm.onboard.join.wish import Wish
from pharos.helm.onboard.remote import Destination
from pharos.helm.store.nodes import list_nodes
from pharos.helm.store.relays import list_relays
from tests.support.helm import SampleHelm, adopt_sample_node, open_helm
from tests.support.sandbox import Sandbox, make_deb

BOTH = (Part.BUOY, Part.BEACON)


@attrs.frozen(kw_only=True)
class Desk(ServiceDesk):
    """helm's own services; that the agents answer is for them to show (tests/system)."""

    async def see(self, part: Part, member_id: str) -> Seen:
        return Seen(version="0.1.0", ordered=True, reality_port=0 if part is Part.BEACON else self.port)

    port: int = 0


@attrs.define
class Scene:
    """A helm, a machine, and what an operator wants."""

    helm: SampleHelm
    box: Sandbox
    wish: Wish
    reality: int
    events: list[Event] = attrs.field(factory=list)
    also: Emit = lambda _event: None

    @property
    def desk(self) -> Desk:
        return Desk(
            store=self.helm.store,
            authorities=self.helm.context.authorities,
            board=self.helm.context.board,
            who=OPERATOR,
            port=self.reality,
        )

    async def join(self) -> Joined:
        return await join(self.wish, self.desk, self.box.open, self.hear)

    async def undo(self) -> bool:
        return await undo(self.wish, self.desk, self.box.open, self.hear)

    def hear(self, event: Event) -> None:
        self.events.append(event)
        self.also(event)

    async def names(self) -> list[str]:
        nodes, relays = await self.helm.store.read(list_nodes), await self.helm.store.read(list_relays)
        return [record.name for record in (*nodes, *relays)]

    def done(self) -> dict[StepId, StepDone]:
        return {event.step: event for event in self.events if isinstance(event, StepDone)}

    @property
    def failed(self) -> StepFailed:
        (event,) = [event for event in self.events if isinstance(event, StepFailed)]
        return event


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports: list[int] = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@pytest.fixture
def debs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """helm came with these."""
    folder = tmp_path / "debs"
    folder.mkdir()
    monkeypatch.setattr("pharos.helm.onboard.debs.CARRIED", folder)
    for part in BOTH:
        make_deb(folder, part.agent.package)
    return folder


@asynccontextmanager
async def scene(tmp_path: Path, parts: tuple[Part, ...] = BOTH, **said: Any) -> AsyncIterator[Scene]:
    control, tunnel, ingress, reality = free_ports(4)
    ports = {"control_port": control, "tunnel_port": tunnel, "ingress_port": ingress}
    served = {"pharos-buoy": (control, reality), "pharos-beacon": (tunnel, ingress)}
    wish = Wish(destination=Destination.parse("root@127.0.0.1"), parts=parts, name="amsterdam", ports=ports, **said)
    (tmp_path / "helm").mkdir(mode=0o700)
    box = Sandbox(tmp_path / "machine", ports=served)
    async with open_helm(tmp_path / "helm") as helm:
        try:
            yield Scene(helm, box, wish, reality)
        finally:
            box.close()


async def test_bare_machine_becomes_node_and_relay_by_one_command(tmp_path: Path, debs: Path) -> None:
    async with scene(tmp_path) as here:
        joined = await here.join()
        assert set(joined.members) == {"nodes", "relays"}
        assert await here.names() == ["amsterdam", "amsterdam"]
        (node,) = await here.helm.store.read(list_nodes)
        assert (node.ssh_destination, node.ssh_host_key[:7]) == ("root@127.0.0.1", "SHA256:")
        assert node.control_port == here.wish.port("control_port")
        # Nothing of the onboarding itself stays there.
        assert [path for path in here.box.left if "onboard" in path] == []
        assert set(here.box.running) == {"pharos-buoy", "pharos-beacon"}
        assert list(here.done()) == list(StepId)


async def test_same_command_again_changes_nothing(tmp_path: Path, debs: Path) -> None:
    async with scene(tmp_path) as here:
        first = await here.join()
        files = here.box.left
        here.events.clear()
        again = await here.join()
        assert again.members == first.members
        assert here.box.left == files
        assert not any(step.changed for step in here.done().values())
        assert not any(isinstance(event, StepProgress) for event in here.events)


def cut_at(scene: Scene, step: StepId, number: int) -> None:
    """Have the connection cut after a step's command of that number, 1 being its first."""

    def told(event: Event) -> None:
        if isinstance(event, StepBegun) and event.step is step:
            scene.box.cut_after = number

    scene.also = told


async def commands_of(scene: Scene) -> list[tuple[StepId, int]]:
    """Bring a machine in, and return each command that it took: which step's, and which of the step's."""
    counts: dict[StepId, int] = {}

    def told(event: Event) -> None:
        if isinstance(event, StepBegun | Joined):
            counts[event.step if isinstance(event, StepBegun) else StepId.CONNECT] = len(scene.box.ran)

    scene.also = told
    await scene.join()
    begun = [counts[step.id] for step in STEPS] + [counts[StepId.CONNECT]]
    return [
        (step.id, number)
        for step, first, last in zip(STEPS, begun, begun[1:], strict=False)
        for number in range(1, last - first + 1)
    ]


async def test_cut_after_any_command_the_same_again_goes_on_to_the_end(tmp_path: Path, debs: Path) -> None:
    """One machine, and a connection that breaks after each command in turn: each try comes one command further."""
    async with scene(tmp_path, (Part.BUOY,)) as first:
        points = await commands_of(first)
    assert len(points) >= 15
    (tmp_path / "again").mkdir()
    async with scene(tmp_path / "again", (Part.BUOY,)) as here:
        failed = 0
        for step, number in points:
            here.events.clear()
            cut_at(here, step, number)
            with suppress(StepError):
                await here.join()
            here.box.cut_after = None
            # Some commands have nothing to do the second time.
            ways = [event.way for event in here.events if isinstance(event, StepFailed)]
            assert all(way.endswith("it goes on.") for way in ways)
            failed += len(ways)
        assert failed > len(points) / 2
        here.also = lambda _event: None
        await here.join()
        assert await here.names() == ["amsterdam"]
        assert [path for path in here.box.left if "onboard" in path] == []


@pytest.mark.parametrize("step", [step.id for step in STEPS])
async def test_stopped_in_any_step_and_undone_it_leaves_nothing(
    tmp_path: Path, debs: Path, monkeypatch: pytest.MonkeyPatch, step: StepId
) -> None:
    monkeypatch.setattr("pharos.helm.onboard.join.reaching.PORTS_WAIT", 0)
    async with scene(tmp_path) as here:
        # Before the second nothing is there.
        cut_at(here, step, 2 if step is StepId.LOOK else 1)
        # These two run nothing there; a port is closed instead.
        if step is StepId.PORTS:
            here.box.ports["pharos-beacon"] = ()
        elif step is StepId.STATUS:
            here.box.ports["pharos-buoy"] = here.box.ports["pharos-buoy"][:1]
        with pytest.raises(StepError):
            await here.join()
        here.box.cut_after = None
        assert await here.undo()
        assert await here.names() == []
        assert (here.box.left, here.box.running) == ([], {})
        assert here.events[-1] == Stopped(undone=True)
        assert not await here.undo()


async def test_dry_run_tells_the_plan_and_changes_nothing(tmp_path: Path, debs: Path) -> None:
    async with scene(tmp_path) as here:
        planned = await rehearse(here.wish, here.desk, here.box.open, here.hear)
        says = {each.step: each.says for each in planned}
        assert says[StepId.INSTALL] == "install pharos-buoy 0.1.0 and pharos-beacon 0.1.0"
        assert "as node and relay" in says[StepId.ADOPT]
        assert (here.box.left, await here.names()) == ([], [])
        await here.join()
        again = await rehearse(here.wish, here.desk, here.box.open, here.hear)
        assert [each for each in again if each.changes] == []


async def test_machine_that_will_not_do_is_left_as_it_is(tmp_path: Path, debs: Path) -> None:
    async with scene(tmp_path) as here:
        here.box.facts = attrs.evolve(
            here.box.facts, release="22.04", taken={"tcp/443": "nginx"}, distribution="ubuntu"
        )
        with pytest.raises(RefusedMachineError, match=r"22\.04 .*; TCP 443 is taken by nginx"):
            await here.join()
        assert (here.failed.step, here.box.left) == (StepId.LOOK, [])


async def test_node_of_another_fleet_is_refused(tmp_path: Path, debs: Path) -> None:
    async with scene(tmp_path, (Part.BUOY,)) as here:
        await here.join()
        other = tmp_path / "other"
        other.mkdir(mode=0o700)
        async with open_helm(other, fresh=True) as helm:
            here.helm = helm
            here.events.clear()
            with pytest.raises(RefusedMachineError, match="a node of another fleet"):
                await here.join()
            assert await here.names() == []


async def test_lock_of_apt_is_waited_for_and_who_holds_it_is_told(
    tmp_path: Path, debs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pharos.helm.onboard.join.installing.LOCK_POLL", 0.001)
    held = "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 77 (unattended-upgr)"
    async with scene(tmp_path, (Part.BUOY,)) as here:
        tries = iter([held, held, None])
        here.box.fails = lambda argv: next(tries) if "apt-get" in argv else None
        await here.join()
        waits = [
            event.says for event in here.events if isinstance(event, StepProgress) and event.says.startswith("waits")
        ]
        assert waits == ["waits for unattended-upgr (process 77), which holds the lock of apt there"]
    monkeypatch.setattr("pharos.helm.onboard.join.installing.LOCK_WAIT", 0)
    (tmp_path / "again").mkdir()
    async with scene(tmp_path / "again", (Part.BUOY,)) as here:
        here.box.fails = lambda argv: held if "apt-get" in argv else None
        with pytest.raises(StepError, match=r"unattended-upgr \(process 77\) has held the lock of apt"):
            await here.join()
        assert here.failed.way.endswith("run the same command again when it has ended.")


async def test_lists_of_packages_are_renewed_where_python_is_not_found(tmp_path: Path, debs: Path) -> None:
    async with scene(tmp_path, (Part.BUOY,)) as here:
        says = iter(["E: Unable to correct problems, you have held broken packages.", None, None])
        here.box.fails = lambda argv: next(says) if "apt-get" in argv else None
        await here.join()
        assert [argv[-1] for argv in here.box.ran if "apt-get" in argv][1] == "update"


async def test_installation_that_was_broken_off_is_mended(tmp_path: Path, debs: Path) -> None:
    async with scene(tmp_path, (Part.BUOY,)) as here:
        here.box.facts = attrs.evolve(here.box.facts, packages={"pharos-buoy": ("0.1.0", "half-installed")})
        await here.join()
        ran = [argv for argv in here.box.ran if "--configure" in argv or "--reinstall" in argv]
        assert [argv[0] for argv in ran] == ["env", "env"]
        # It was there before us, so that what is undone leaves it.
        assert not any("purge" in argv for argv in here.box.ran)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("dpkg: error processing archive: No space left on device", "No space left"),
        ("E: You don't have enough free space in /var/cache/apt/archives/.", "its disk is full"),
        ("E: Sub-process /usr/bin/dpkg returned an error code (1)", "returned an error code"),
    ],
)
async def test_apt_that_says_no_is_told_and_the_same_again_goes_on(
    tmp_path: Path, debs: Path, said: str, why: str
) -> None:
    async with scene(tmp_path, (Part.BUOY,)) as here:
        here.box.fails = lambda argv: said if "apt-get" in argv else None
        with pytest.raises(StepError, match=why):
            await here.join()
        assert (here.failed.step, await here.names()) == (StepId.INSTALL, [])
        here.box.fails = lambda _argv: None
        await here.join()


async def test_package_for_another_machine_is_refused_before_it_is_sent(tmp_path: Path, debs: Path) -> None:
    other = make_deb(tmp_path, "pharos-buoy", arch="arm64")
    async with scene(tmp_path, (Part.BUOY,), deb=other) as here:
        with pytest.raises(StepError, match="is for arm64, and the machine is amd64"):
            await here.join()
        assert here.box.left == []


async def test_name_of_another_machine_is_refused_before_anything_is_installed(tmp_path: Path, debs: Path) -> None:
    async with scene(tmp_path, (Part.BUOY,)) as here:
        await here.helm.store.run(adopt_sample_node, here.helm.authority)
        with pytest.raises(StepError, match="another node is called amsterdam"):
            await here.join()
        assert here.box.left == []


async def test_newer_package_there_stays_and_an_older_one_is_replaced(tmp_path: Path, debs: Path) -> None:
    async with scene(tmp_path, (Part.BUOY,)) as here:
        await here.join()
        make_deb(debs, "pharos-buoy", "0.2.0")
        (debs / "pharos-buoy_0.1.0_amd64.deb").unlink()
        await here.join()
        assert here.box.facts.packages["pharos-buoy"] == ("0.2.0", "installed")
        make_deb(debs, "pharos-buoy", "0.1.5")
        (debs / "pharos-buoy_0.2.0_amd64.deb").unlink()
        here.events.clear()
        await here.join()
        assert not here.done()[StepId.INSTALL].changed


async def test_node_that_lost_its_state_is_taken_back_by_the_same_way(tmp_path: Path, debs: Path) -> None:
    async with scene(tmp_path, (Part.BUOY,)) as here:
        joined = await here.join()
        (before,) = await here.helm.store.read(list_nodes)
        (tmp_path / "machine/var/lib/pharos-buoy/identity.json").unlink()
        # A helm that came without packages can do that, too.
        shutil.rmtree(debs)
        again = attrs.evolve(here.wish, readopts=before.id, address="127.0.0.1")
        here.wish = again
        with pytest.raises(StepError, match="--new-keys"):
            await here.join()
        here.wish = attrs.evolve(again, new_keys=True, destination=Destination.parse("root@localhost"))
        assert (await here.join()).members == joined.members
        (after,) = await here.helm.store.read(list_nodes)
        assert (after.name, after.ssh_destination) == ("amsterdam", "root@localhost")
        assert after.awg_key != before.awg_key


async def test_closed_port_is_named_with_what_to_open(
    tmp_path: Path, debs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pharos.helm.onboard.join.reaching.PORTS_WAIT", 0)
    async with scene(tmp_path, (Part.BUOY,)) as here:
        here.box.ports["pharos-buoy"] = here.box.ports["pharos-buoy"][1:]
        with pytest.raises(StepError, match="the service runs, and TCP"):
            await here.join()
        assert f"Open TCP {here.wish.port('control_port')} for helm" in here.failed.way


async def test_settings_and_package_that_were_there_before_stay_when_it_is_undone(tmp_path: Path, debs: Path) -> None:
    async with scene(tmp_path, (Part.BUOY,)) as here:
        # Somebody has installed the package by hand.
        async with here.box.open() as remote:
            await remote.run("apt-get", "install", str(debs / "pharos-buoy_0.1.0_amd64.deb"))
        settings = tmp_path / "machine/etc/pharos/buoy.toml"
        before = settings.read_text()
        here.box.fails = lambda argv: "it does not start" if "restart" in argv else None
        with pytest.raises(StepError):
            await here.join()
        assert settings.read_text() != before
        await here.undo()
        assert (settings.read_text(), here.box.left) == (before, ["etc/pharos/buoy.toml"])
        assert await here.names() == []
