"""A wheel is all that a helm needs: the page, the agents' packages, man pages and completions are in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import carried
import hatch_build
import pytest
import share
import spa
from build_deb import host_arch
from deb.errors import NotCachedError, PackagingError
from deb.package import PYTHONS
from deb.wheels import MACHINES, Lock, Target, fetch_wheels
from epoch import read_epoch
from manpages import pages, programs

from tests.packaging.built import ROOT, shared

SOURCES = ("pharos", "docs", "packaging", "requirements", "frontend")
FILES = ("README.md", "LICENSE", "CHANGELOG.md", "pyproject.toml", ".gitignore")
CACHE = ROOT / ".cache/deb"
MUST = os.environ.get("CI") == "true"


@attrs.frozen
class Built:
    """What was built of one copy of the sources."""

    wheel: Path
    sdist: Path
    environment: dict[str, str]


def cached_wheels(lock: str, *targets: Target) -> list[Path]:
    """Return libraries' wheels; skip the test where they would have to be downloaded, except in CI."""
    try:
        found = [
            fetch_wheels(Lock.read(ROOT / f"requirements/{lock}.txt"), target, cache=CACHE, offline=not MUST)
            for target in targets
        ]
    except NotCachedError as error:
        pytest.skip(str(error))
    return [path for of_target in found for path in of_target.values()]


def hatchling(folder: Path, environment: dict[str, str], *arguments: str) -> None:
    command = [sys.executable, "-m", "hatchling", "build", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Return a wheel and an sdist of the sources as they are now."""
    if not MUST and (shutil.which("dpkg-deb") is None or not (spa.is_fresh(spa.digest()) or spa.find_node())):
        pytest.skip("a wheel is built with dpkg-deb and a Node, and one of them is not here")
    cached_wheels("agent", *(Target(python, arch) for arch in MACHINES for python in PYTHONS))
    with shared(tmp_path_factory, "page"):
        spa.build()
    sources = tmp_path_factory.mktemp("checkout")
    # A copy, so that nobody edits it between two builds; what was built of the page comes along with its stamp.
    unwanted = shutil.ignore_patterns("node_modules", "build", ".svelte-kit", "__pycache__")
    for name in SOURCES:
        shutil.copytree(ROOT / name, sources / name, ignore=unwanted)
    for name in FILES:
        shutil.copy(ROOT / name, sources / name)
    (sources / ".cache").symlink_to(ROOT / ".cache")
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(read_epoch(ROOT)), carried.SWITCH: "fast"}
    out = tmp_path_factory.mktemp("dist")
    hatchling(sources, environment, "-t", "sdist", "-t", "wheel", "-d", str(out))
    [wheel], [sdist] = out.glob("*.whl"), out.glob("*.tar.gz")
    return Built(wheel, sdist, environment)


@pytest.mark.system
def test_wheel_carries_what_takes_tools_to_build(built: Built) -> None:
    names = set(zipfile.ZipFile(built.wheel).namelist())
    assert "pharos/helm/web/_spa/index.html" in names
    debs = {name for name in names if name.endswith(".deb")}
    assert {name.partition("_0")[0] + name[-10:] for name in debs} == {
        f"pharos/helm/onboard/_debs/pharos-{agent}_{arch}.deb" for agent in carried.AGENTS for arch in MACHINES
    }
    shared = {name.partition(".data/data/")[2] for name in names if ".data/data/" in name}
    manual = {f"share/man/man1/{page}" for program in programs() for page in pages(program)}
    assert manual <= shared
    assert {
        "share/bash-completion/completions/helm",
        "share/zsh/site-functions/_helm",
        "share/fish/vendor_completions.d/helm.fish",
        "share/pharos/caravel-up.service",
    } <= shared
    foreign = ("pharos/", f"{built.wheel.name.rpartition('-py3')[0]}.d")
    assert not [name for name in names if not name.startswith(foreign)]


@pytest.mark.system
def test_wheel_of_an_sdist_is_the_same_bytes(built: Built, tmp_path: Path) -> None:
    with tarfile.open(built.sdist) as archive:
        assert not [name for name in archive.getnames() if "/frontend/" in name or "build_deb" in name]
        archive.extractall(tmp_path, filter="data")
    [tree] = tmp_path.iterdir()
    # Nothing that builds a page or a package can be reached from here.
    environment = {**built.environment, "PATH": "/nowhere"}
    hatchling(tree, environment, "-t", "wheel", "-d", str(tmp_path / "out"))
    [wheel] = (tmp_path / "out").iterdir()
    assert wheel.read_bytes() == built.wheel.read_bytes()


@pytest.mark.system
def test_installed_wheel_is_a_helm_that_has_packages_for_every_machine(built: Built, tmp_path: Path) -> None:
    arch = host_arch()
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    if arch is None or python not in PYTHONS:
        pytest.skip("no wheels are kept for this machine's Python")
    libraries = tmp_path / "libraries"
    libraries.mkdir()
    for path in cached_wheels("runtime", Target(python, arch)):
        (libraries / path.name).symlink_to(path)
    home = tmp_path / "venv"
    # With our pip, which saves the making of one there.
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
    pip = [sys.executable, "-m", "pip", "--python", str(home / "bin/python"), "install", "-q", "--no-index"]
    pip += ["--no-compile", "--disable-pip-version-check", "--find-links", str(libraries), str(built.wheel)]
    subprocess.run(pip, check=True)

    def run(*command: str) -> str:
        environment = {"PATH": f"{home}/bin:/usr/bin:/bin", "HOME": str(tmp_path), "LC_ALL": "C.UTF-8"}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert "helm init --personal" in run("helm", "--help")
    look = "import sys, pharos.helm.onboard.debs as d; deb = d.find_deb(*sys.argv[1:]); print(deb.path, deb.version)"
    for package in ("pharos-buoy", "pharos-beacon"):
        for machine in MACHINES:
            path, version = run(str(home / "bin/python"), "-I", "-c", look, package, machine).split()
            assert Path(path).is_relative_to(home)
            assert Path(path).name == f"{package}_{version}_{machine}.deb"
    [page] = home.glob("lib/*/site-packages/pharos/helm/web/_spa/index.html")
    assert page.read_bytes() == (spa.OUT / "index.html").read_bytes()
    assert "helm nodes" in (home / "share/man/man1/helm.1").read_text()


def make_hook() -> hatch_build.BuildHook:
    """Return the hook as hatchling makes it for a wheel of a project with two dependencies."""
    metadata: Any = SimpleNamespace(core=SimpleNamespace(dependencies=["click", "trio"]))
    return hatch_build.BuildHook(str(ROOT), {}, None, metadata, "", "wheel")


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a tree in whose place the hook builds; nothing in it is built yet."""
    for module, name, place in (
        (spa, "ROOT", ""),
        (spa, "FRONTEND", "frontend"),
        (spa, "OUT", "pharos/helm/web/_spa"),
        (share, "OUT", "build/share"),
        (carried, "ROOT", ""),
        (carried, "OUT", "pharos/helm/onboard/_debs"),
    ):
        monkeypatch.setattr(module, name, tmp_path / place)
    (tmp_path / "frontend").mkdir()
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1790000000")
    return tmp_path


def test_editable_install_builds_nothing_and_takes_nothing_along(checkout: Path) -> None:
    data: dict[str, Any] = {"artifacts": [], "shared_data": {}}
    make_hook().initialize("editable", data)
    assert data == {"artifacts": [], "shared_data": {}}
    assert [path.name for path in checkout.iterdir()] == ["frontend"]


def test_tools_are_asked_for_only_where_something_is_to_be_built(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spa, "find_node", lambda: None)
    monkeypatch.setattr(spa, "digest", lambda: "page")
    hook = make_hook()
    assert hook.dependencies() == [hatch_build.NODE, "click", "trio", *hatch_build.DEB_TOOLS]
    monkeypatch.setenv(carried.SWITCH, "no")
    assert hook.dependencies() == [hatch_build.NODE, "click", "trio"]
    for folder, known_by in ((spa.OUT, "page"), (share.OUT, share.digest())):
        folder.mkdir(parents=True)
        (folder / "index.html").touch()
        (folder / ".digest").write_text(known_by)
    assert hook.dependencies() == []
    monkeypatch.delenv(carried.SWITCH)
    assert hook.dependencies() == ["click", "trio", *hatch_build.DEB_TOOLS]
    # An editable install asks as well, and builds nothing: it does not fail where there is no date for a package.
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "today")
    assert hook.dependencies() == ["click", "trio", *hatch_build.DEB_TOOLS]
    # An sdist brings what was built, and no stamps.
    (checkout / "frontend").rmdir()
    assert hook.dependencies() == []


def test_sources_without_the_built_parts_or_the_means_to_build_them_are_refused(checkout: Path) -> None:
    (checkout / "frontend").rmdir()
    with pytest.raises(spa.SpaError, match="take a whole release"):
        make_hook().initialize("standard", {"artifacts": [], "shared_data": {}})


def test_packages_are_built_anew_when_a_source_or_the_date_has_changed(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(carried, "_build", lambda out: asked.append(str((out / "a.deb").write_bytes(b"!"))))
    for sources, date in (("a", "1"), ("a", "1"), ("b", "1"), ("b", "2"), ("b", "2")):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", date)
        carried.build(sources)
        assert [path.name for path in carried.OUT.glob("*.deb")] == ["a.deb"]
    assert len(asked) == 3


def test_packages_that_cannot_be_built_leave_those_of_before_and_say_what_to_do(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    carried.OUT.mkdir(parents=True)
    (carried.OUT / "old.deb").touch()
    (checkout / "packaging").mkdir()
    (checkout / "packaging/build_deb.py").write_text("import sys; sys.exit('deb: dpkg-deb is missing')")
    with pytest.raises(PackagingError, match=r"^deb: dpkg-deb is missing\n.*PHAROS_DEBS=no builds one without them"):
        carried.build("sources")
    assert [path.name for path in carried.OUT.iterdir()] == ["old.deb"]
    assert [path.name for path in carried.OUT.parent.iterdir()] == ["_debs"]
