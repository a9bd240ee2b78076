"""The README and the tutorial, typed as they stand: bare servers become a fleet that carries a device's page."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import trio
from build_deb import host_arch
from deb.package import PYTHONS
from deb.wheels import Lock, Target, fetch_wheels

from tests.journeys.story import ROOT, read_story
from tests.journeys.telling import README, SERVERS, TUTORIAL, Telling, open_telling
from tests.packaging.built import AGENTS, build, copy_sources
from tests.system.bare import GREETING
from tests.system.needs import missing_for_bare_machines
from tests.system.trees import BARE, ensure_tree

pytestmark = pytest.mark.journey

PROMISED = 600.0
"""Seconds of machine time (issue 10); the rest of the thirty minutes is a person's."""
NODE = "buoya"


@pytest.fixture(autouse=True)
def needs_machines() -> None:
    if (missing := missing_for_bare_machines()) is not None:
        pytest.skip(missing)


@pytest.fixture(scope="module")
def debs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where the packages are once somebody has built them."""
    return tmp_path_factory.mktemp("debs")


def warm_cache() -> None:
    """Have what `make deb` downloads the first time, for the lab has no registry."""
    lock, arch = Lock.read(ROOT / "requirements/agent.txt"), host_arch()
    assert arch is not None
    for python in PYTHONS:
        fetch_wheels(lock, Target(python, arch), cache=ROOT / ".cache/deb", offline=False)


def keep(dist: Path, debs: Path) -> None:
    for deb in dist.glob("*.deb"):
        shutil.copy(deb, debs)


def build_once(debs: Path) -> None:
    if not any(debs.iterdir()):
        sources = debs.with_name("sources")
        copy_sources(sources)
        build(sources, debs, *AGENTS)


async def host_keys(telling: Telling) -> set[str]:
    """Return the fingerprints of the servers, as each of them says itself."""
    show = ["ssh-keygen", "-lf", "/etc/ssh/ssh_host_ed25519_key.pub"]
    return {(await machine.run(*show)).split()[1] for machine in telling.servers.values()}


async def look(telling: Telling) -> None:
    """The story has come out well."""
    # Who answered saw the node: the page came through the tunnel.
    assert telling.shown("curl").split("\r\n")[-2] == f"{GREETING} {telling.lab.host(NODE).address4}"
    assert "5 of 5 echoes" in telling.shown("caravel doctor")
    assert "All is well." in telling.shown("helm doctor")
    # Whoever added a server was shown whom.
    for fingerprint in await host_keys(telling):
        assert fingerprint in telling.shown("s add root@")
    for machine in telling.servers.values():
        assert await machine.state() == "running"
    assert telling.seconds() < PROMISED


async def test_the_readme_makes_a_fleet_of_one_bare_server(tmp_path: Path, debs: Path) -> None:
    await ensure_tree("bookworm", BARE)
    await trio.to_thread.run_sync(warm_cache)
    with trio.fail_after(PROMISED):
        async with open_telling(tmp_path, "bookworm", SERVERS[README]) as telling:
            await telling.tell(read_story(README))
            await look(telling)
            keep(telling.people["laptop"].path(f"{ROOT}/dist"), debs)


async def test_the_tutorial_makes_a_fleet_of_two_bare_servers(tmp_path: Path, debs: Path) -> None:
    await ensure_tree("trixie", BARE)
    await trio.to_thread.run_sync(build_once, debs)
    with trio.fail_after(PROMISED):
        async with open_telling(tmp_path, "trixie", SERVERS[TUTORIAL], debs=debs) as telling:
            await telling.tell(read_story(TUTORIAL))
            await look(telling)
            assert "revoked" in telling.shown("helm devices revoke")
